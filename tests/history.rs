//! Histories: many clients, real processes, and a network that fails; then a checker reads what everybody was told.
//!
//! `HISTORY_SEED`, `HISTORY_SECONDS`, `HISTORY_SHARES` and `HISTORY_ACKS` (`alone` for a single Redis, else the value of
//! `REDIS_MIN_ACKS`) change the run; `scripts/history` makes the long one.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test")]

#[path = "http/client.rs"]
#[allow(dead_code, reason = "the tests of the HTTP interface use the rest")]
mod client;

#[path = "http/server.rs"]
#[allow(dead_code, reason = "the tests of the HTTP interface use the rest")]
mod server;

mod history {
    pub mod checker;
    pub mod clients;
    mod failover;
    pub mod log;
    pub mod nemesis;
    pub mod proxy;
    pub mod random;
    pub mod report;
    pub mod rig;
    pub mod run;
}

use std::time::Duration;

use history::checker::Finding;
use history::report::{findings, report};
use history::rig::Shape;
use history::run::{Settings, run};

fn set<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value}")),
        Err(_) => default,
    }
}

#[test]
fn nothing_is_lost_or_granted_twice_while_everything_fails() {
    let acks: String = set("HISTORY_ACKS", "all".to_owned());
    let settings = Settings {
        seed: set("HISTORY_SEED", 1),
        time: Duration::from_secs(set("HISTORY_SECONDS", 15)),
        shares: set("HISTORY_SHARES", 40),
        shape: Shape::of(&acks),
    };
    println!("HISTORY_SEED={}", settings.seed);
    let outcome = run(&settings);
    let found = outcome.path.with_extension("found");
    std::fs::write(&found, findings(&outcome)).expect("the findings are kept");
    println!("{}", report(&settings, &outcome));
    // Less than `all` promises nothing for a failover: the figures tell what came of it.
    let promised = acks == "all" || acks == "alone";
    let broken = outcome.found.iter().filter(|found| found.finding != Finding::Spent).count();
    assert!(!promised || broken == 0, "{broken} promises broken: {}", found.display());
}
