//! OneTimeShare: send a file once. One person gets it, then it is gone, and the sender knows.

pub mod blobs;
pub mod ledger;
pub mod metrics;
pub mod redis;
pub mod seal;
pub mod share;
pub mod store;
