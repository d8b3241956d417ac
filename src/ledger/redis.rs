//! Redis ledger.
