//! Lua scripts, sent by their hash.

use ::redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, ToRedisArgs};
use bytes::Bytes;

use super::pipe::fill;

/// A Lua script.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { hash: ::redis::Script::new(text).get_hash().to_owned(), text }
    }

    /// A call with these keys; `size` is about how many bytes the arguments have.
    pub(crate) fn call(&self, keys: &[&str], size: usize) -> Call<'_> {
        let mut command = Cmd::with_capacity(24 + keys.len(), size + 64 + keys.len() * 128);
        command.arg("EVALSHA").arg(&self.hash).arg(keys.len()).arg(keys);
        Call { script: self, command }
    }
}

/// A script with its keys and arguments.
pub(crate) struct Call<'a> {
    script: &'a Script,
    command: Cmd,
}

impl Call<'_> {
    pub(crate) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds an argument that came in pieces.
    pub(crate) fn pieces(mut self, pieces: Vec<Bytes>) -> Self {
        fill(&mut self.command, pieces);
        self
    }

    pub(super) fn by_hash(&self) -> &Cmd {
        &self.command
    }

    /// The call for a Redis that has not seen the script yet, or forgot it.
    pub(super) fn by_text(&self) -> Cmd {
        let mut command = ::redis::cmd("EVAL");
        command.arg(self.script.text);
        for arg in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = arg {
                command.arg(bytes);
            }
        }
        command
    }
}

pub(super) fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
