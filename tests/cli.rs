//! The command line, tried as a user has it: the real binary against a real server.

#[macro_use]
#[path = "servers/stores.rs"]
mod stores;

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
#[path = "cli/endings.rs"]
mod endings;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/interrupted.rs"]
mod interrupted;
#[path = "cli/receipts.rs"]
mod receipts;
#[path = "cli/relay.rs"]
mod relay;
#[path = "cli/trips.rs"]
mod trips;
#[path = "cli/user.rs"]
mod user;
