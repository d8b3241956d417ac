//! Whose cryptography TLS rests on: that which seals, too.

/// Chooses it for all of this process, before the first connection that may speak TLS.
pub(crate) fn choose() {
    // Only fails where one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
