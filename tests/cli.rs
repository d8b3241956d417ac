//! The command line, tried as a user has it: the real binary against a real server.

#[macro_use]
#[path = "servers/stores.rs"]
mod stores;

#[path = "servers/certificates.rs"]
#[allow(unreachable_pub, reason = "other suites use it too")]
mod certificates;

#[path = "http/client.rs"]
#[allow(dead_code, reason = "the server's suite uses the rest")]
mod client;
#[path = "http/sender.rs"]
#[allow(dead_code, reason = "the server's suite uses the rest")]
mod sender;
#[path = "http/server.rs"]
#[allow(dead_code, reason = "the server's suite uses the rest")]
mod server;

#[path = "cli/arguments.rs"]
mod arguments;
#[path = "cli/elsewhere.rs"]
mod elsewhere;
#[path = "cli/endings.rs"]
mod endings;
#[path = "cli/foreign.rs"]
mod foreign;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/interrupted.rs"]
mod interrupted;
#[path = "cli/proxies.rs"]
mod proxies;
#[path = "cli/proxy.rs"]
mod proxy;
#[path = "cli/questions.rs"]
mod questions;
#[path = "cli/receipts.rs"]
mod receipts;
#[path = "cli/relay.rs"]
mod relay;
#[path = "cli/terminator.rs"]
mod terminator;
#[path = "cli/tls.rs"]
mod tls;
#[path = "cli/trips.rs"]
mod trips;
#[path = "cli/user.rs"]
mod user;
