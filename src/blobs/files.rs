//! Blobs in plain files.
