//! The web server.

pub mod views;
