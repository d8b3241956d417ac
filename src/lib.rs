//! OneTimeShare: send a file once. One person gets it, then it is gone, and the sender knows.
//!
//! The rooms, from the door inwards: [`cli`] and [`serve`] start it, [`http`] speaks with clients, [`store`] knows in which order
//! things must happen, [`ledger`] decides who may take what, [`blobs`] keep sealed bytes. [`share`] (the domain), [`seal`],
//! [`zip`], [`names`] and [`text`] are pure, and any room may use them. Imports run in this direction only. [`client`] is the
//! other end of the line: it knows the pure rooms, and no other of these.

pub mod blobs;
pub mod cli;
pub mod client;
pub mod config;
mod disk;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod names;
pub mod redis;
pub mod seal;
pub mod serve;
pub mod share;
pub mod store;
pub mod text;
mod tls;
pub mod zip;
