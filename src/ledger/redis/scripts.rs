//! The scripts, one per transition.

use crate::redis::Script;

macro_rules! script {
    ($file:literal) => {
        Script::new(include_str!($file))
    };
    (common $file:literal) => {
        Script::new(concat!(include_str!("common.lua"), include_str!($file)))
    };
}

pub(super) struct Scripts {
    pub(super) begin: Script,
    pub(super) upload: Script,
    pub(super) declare: Script,
    pub(super) advance: Script,
    pub(super) publish: Script,
    pub(super) abandon: Script,
    pub(super) peek: Script,
    pub(super) admit: Script,
    pub(super) claim: Script,
    pub(super) lease: Script,
    pub(super) acknowledge: Script,
    pub(super) certain: Script,
    pub(super) confirm: Script,
    pub(super) charge: Script,
    pub(super) finish: Script,
    pub(super) revoke: Script,
    pub(super) hit: Script,
    pub(super) defer: Script,
    pub(super) due: Script,
    pub(super) reserve: Script,
    pub(super) seen: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            begin: script!("begin.lua"),
            upload: script!("upload.lua"),
            declare: script!("declare.lua"),
            advance: script!("advance.lua"),
            publish: script!(common "publish.lua"),
            abandon: script!("abandon.lua"),
            peek: script!(common "peek.lua"),
            admit: script!(common "admit.lua"),
            claim: script!(common "claim.lua"),
            lease: script!("lease.lua"),
            acknowledge: script!(common "acknowledge.lua"),
            certain: script!("certain.lua"),
            confirm: script!(common "confirm.lua"),
            charge: script!(common "charge.lua"),
            finish: script!(common "finish.lua"),
            revoke: script!(common "revoke.lua"),
            hit: script!("hit.lua"),
            defer: script!("defer.lua"),
            due: script!("due.lua"),
            reserve: script!("reserve.lua"),
            seen: script!("seen.lua"),
        }
    }
}
