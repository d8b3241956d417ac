//! Embedded ledger: SQLite.
