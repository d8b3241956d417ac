//! OneTimeShare: send a file once. One person gets it, then it is gone, and the sender knows.

pub mod blobs;
pub mod http;
pub mod ledger;
pub mod redis;
pub mod seal;
pub mod share;
