//! Blobs in Redis.
