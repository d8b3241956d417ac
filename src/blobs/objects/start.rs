//! The start: a bucket that is not there, or may not be used, is told in one clear line.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStoreExt, PutPayload, RetryConfig};

use super::{Objects, Reason, Shelf, reason};
use crate::share::random;

/// What one request may take. An object of 8 MiB needs some 20 Mbit/s for it while three others are on their way.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);
/// A request that failed is repeated for so long.
const PATIENCE: Duration = Duration::from_secs(20);

impl Objects {
    /// The blobs of the ledger `ledger` in the bucket `name`, below `prefix`. Tries whether they may be written, listed, read and
    /// deleted there.
    ///
    /// `variables` are those of the environment that begin with `AWS_`, of which
    /// [`AmazonS3ConfigKey`] lists what is understood.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn open(
        name: &str,
        prefix: &str,
        ledger: &str,
        variables: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let (bucket, at) = client(name, variables)?;
        let home = if prefix.is_empty() { format!("{ledger}/") } else { format!("{prefix}/{ledger}/") };
        let shelf = Shelf { bucket, home };
        let tried = shelf.try_out().await;
        tried.map_err(|(deed, error)| explain(reason(&error), deed, name, &at))?;
        Ok(Self::on(shelf))
    }
}

/// How the driver lets people say yes.
const YES: [&str; 5] = ["true", "1", "yes", "y", "on"];

/// The bucket, and where it is in words.
fn client(name: &str, variables: Vec<(String, String)>) -> anyhow::Result<(AmazonS3, String)> {
    crate::tls::choose();
    // What the environment says of the client's times stands over these.
    let options = ClientOptions::new().with_timeout(ANSWER_WITHIN).with_connect_timeout(CONNECTED_WITHIN);
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(3), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: 10, retry_timeout: PATIENCE };
    let mut builder = AmazonS3Builder::new().with_client_options(options).with_retry(retry).with_bucket_name(name);
    for (variable, value) in variables {
        if let Ok(key) = variable.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_bucket_name(name);
    let set = |key| builder.get_config_value(&key);
    let endpoint = set(AmazonS3ConfigKey::S3Endpoint).or_else(|| set(AmazonS3ConfigKey::Endpoint));
    let plain =
        set(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).is_some_and(|allowed| YES.contains(&&*allowed));
    if let Some(endpoint) = &endpoint {
        let secure = endpoint.starts_with("https://");
        ensure!(secure || endpoint.starts_with("http://"), "AWS_ENDPOINT is not of the form https://host[:port]");
        ensure!(
            secure || plain,
            "AWS_ENDPOINT begins with http://, which sends bytes and names in the clear: set AWS_ALLOW_HTTP=true where that is meant"
        );
    }
    let key = |key| set(key).is_some();
    ensure!(
        key(AmazonS3ConfigKey::AccessKeyId) == key(AmazonS3ConfigKey::SecretAccessKey),
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both"
    );
    let at = endpoint.unwrap_or_else(|| "Amazon's S3".to_owned());
    let built = builder.build().context("the AWS_… variables of the bucket can't be used");
    Ok((built?, at))
}

impl Shelf {
    /// Does once what will be done with every blob. Gives the deed that failed.
    async fn try_out(&self) -> Result<(), (&'static str, object_store::Error)> {
        // Of its own name: several servers may start at once.
        let trial = Path::from(format!("{}trial-{:016x}", self.home, u64::from_ne_bytes(random())));
        let some = PaginatedListOptions { max_keys: Some(1), ..Default::default() };
        self.bucket.list_paginated(Some(&self.home), some).await.map_err(|error| ("listed", error))?;
        let put = self.bucket.put(&trial, PutPayload::from_static(b"trial")).await;
        put.map_err(|error| ("written", error))?;
        self.bucket.get_range(&trial, 0..5).await.map_err(|error| ("read", error))?;
        self.bucket.delete(&trial).await.map_err(|error| ("deleted", error))
    }
}

fn explain(reason: Reason, deed: &str, name: &str, at: &str) -> anyhow::Error {
    match reason {
        Reason::Refused { status: 404, .. } => {
            anyhow!("there is no bucket {name} at {at}: make it, or correct --blobs-url")
        }
        Reason::Refused { code, .. } if code == "AccessDenied" => anyhow!(
            "in the bucket {name} at {at} nothing may be {deed} with these keys ({code}): allow it to AWS_ACCESS_KEY_ID"
        ),
        // 400: a key that is too old, or meant for another region.
        Reason::Refused { status: 400..=403, code } => anyhow!(
            "the bucket {name} at {at} refuses the keys ({code}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION"
        ),
        Reason::Refused { code, .. } => anyhow!("nothing can be {deed} in the bucket {name} at {at}: it says {code}"),
        Reason::Away(how) => {
            anyhow!(
                "the bucket's server {how}: is {at} right in AWS_ENDPOINT, and are AWS_ACCESS_KEY_ID and its secret set?"
            )
        }
    }
}
