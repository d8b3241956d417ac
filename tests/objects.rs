//! What only a bucket has: thousands of objects, a quota, and a server that says why.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test")]

#[path = "servers/s3.rs"]
mod s3_server;

#[path = "blobs/given.rs"]
#[allow(dead_code, reason = "the suite of the blobs uses the rest")]
mod given;

use std::collections::BTreeSet;
use std::time::Duration;

use given::*;
use onetimeshare::blobs::objects::Objects;
use onetimeshare::blobs::{Blobs, Error};
use onetimeshare::share::ShareId;
use s3_server::{BUCKET, S3Server};

const LEDGER: &str = "0123456789abcdef";

async fn bucket(server: &S3Server) -> Objects {
    Objects::open(BUCKET, "", LEDGER, server.variables()).await.expect("a bucket")
}

fn plant(server: &S3Server, id: &ShareId, from: usize, content: &[u8]) {
    server.plant(&format!("{LEDGER}/{id}/{from:012x}-{:012x}", from + content.len()), content, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_thousands_of_objects_is_read_and_freed() {
    let server = S3Server::start();
    let blobs = bucket(&server).await;
    let (id, content) = (ShareId::random(), content(1100));
    (0..content.len()).for_each(|at| plant(&server, &id, at, &content[at..=at]));
    for range in [0..1100, 999..1002, 1050..1100] {
        assert!(read(&blobs, &id, range.clone()).await.unwrap()[..] == content[range]);
    }
    assert_eq!(read(&blobs, &id, 0..1101).await, Err(Error::Missing));
    blobs.free(&id, 0).await.unwrap();
    assert_eq!(server.names(), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_blobs_are_listed() {
    let server = S3Server::start();
    let blobs = bucket(&server).await;
    let ids: BTreeSet<String> = (0..1100)
        .map(|_| ShareId::random())
        .inspect(|id| plant(&server, id, 0, b"x"))
        .map(|id| id.to_string())
        .collect();
    let listed: BTreeSet<String> = blobs.all().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(listed, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_there_is_neither_read_nor_listed() {
    let server = S3Server::start();
    let blobs = bucket(&server).await;
    let (id, content) = blob(&blobs, 1000).await;
    for name in ["readme", "000000000000-0000000003e9", "000000000000-00000000000g", "0-3e8"] {
        server.plant(&format!("{LEDGER}/{id}/{name}"), b"x", Duration::ZERO);
    }
    server.plant(&format!("{LEDGER}/readme"), b"x", Duration::ZERO);
    server.plant(&format!("{LEDGER}/folder/readme"), b"x", Duration::ZERO);
    assert_holds(&blobs, &id, &content).await;
    assert_eq!(read(&blobs, &id, 0..1001).await, Err(Error::Missing));
    assert_eq!(blobs.all().await.unwrap(), [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_no_room_and_a_refusal_is_told_by_its_code_alone() {
    let server = S3Server::start();
    let blobs = bucket(&server).await;
    let id = ShareId::random();
    server.refuse("QuotaExceeded");
    assert_eq!(write(&blobs, &id, 0, &content(1000)).await, Err(Error::Full));
    server.refuse("AccessDenied");
    let denied = write(&blobs, &id, 0, &content(1000)).await;
    assert_eq!(denied, Err(Error::Unavailable("the bucket says AccessDenied".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_may_only_be_read_is_refused() {
    let server = S3Server::start();
    server.refuse("AccessDenied");
    let Err(refused) = Objects::open(BUCKET, "", LEDGER, server.variables()).await else { panic!("it is opened") };
    assert!(refused.to_string().contains("nothing may be written"), "{refused}");
}
