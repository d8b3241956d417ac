//! What Prometheus may read: sums over all shares, nothing about any one of them.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The counters; each clone of a counter counts into the same one.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Shares published.
    pub uploads: Counter,
    /// Claims granted, repeated ones not counted.
    pub claims: Counter,
    /// Claims that were finished.
    pub finishes: Counter,
    /// Shares that ended lapsed.
    pub lapses: Counter,
    /// Shares whose bytes were freed by the sweep.
    pub freed: Counter,
    /// Bytes received from senders.
    pub received: Counter,
    /// Bytes written to recipients.
    pub served: Counter,
    /// Calls that ledger or blobs failed.
    pub store_errors: Counter,
    /// Uploads and downloads running now.
    pub transfers: Gauge,
    /// From a request's head to the end of its answer's body.
    requests: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("onetimeshare");
        let mut counter = |name, help, unit| {
            let counter = Counter::default();
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, counter.clone()),
                None => registry.register(name, help, counter.clone()),
            }
            counter
        };
        let uploads = counter("uploads", "Shares published", None);
        let claims = counter("claims", "Claims granted", None);
        let finishes = counter("finishes", "Claims confirmed by their recipient", None);
        let lapses = counter("lapses", "Shares whose leases ran out unconfirmed", None);
        let freed = counter("shares_freed", "Shares whose bytes the sweep freed", None);
        let received = counter("received", "Bytes received from senders", Some(Unit::Bytes));
        let served = counter("served", "Bytes written to recipients", Some(Unit::Bytes));
        let store_errors = counter("store_errors", "Calls that ledger or blobs failed", None);
        let transfers = Gauge::default();
        registry.register("transfers_running", "Uploads and downloads running now", transfers.clone());
        let requests = Histogram::new(exponential_buckets(0.000_5, 4.0, 12));
        let help = "From a request's head to the end of its answer";
        registry.register_with_unit("request", help, Unit::Seconds, requests.clone());
        Self { registry, uploads, claims, finishes, lapses, freed, received, served, store_errors, transfers, requests }
    }
}

impl Metrics {
    /// A request has been answered whole.
    pub fn answered(&self, took: Duration) {
        self.requests.observe(took.as_secs_f64());
    }

    /// The exposition, in OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Counts a transfer as running until it is dropped.
#[derive(Debug)]
pub struct Running(Gauge);

impl Running {
    /// A transfer begins.
    pub fn new(metrics: &Metrics) -> Self {
        metrics.transfers.inc();
        Self(metrics.transfers.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
