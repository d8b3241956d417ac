//! What every store of blobs promises, tried on every one.
//!
//! A promise is one function, named as a sentence, and listed once below; one that isn't listed is dead code, which the
//! build refuses. A new backend is one function that gives a [`World`], and one line.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test")]

#[path = "servers/cluster.rs"]
#[allow(dead_code, reason = "other suites do more with a cluster")]
mod cluster_server;
#[path = "servers/redis.rs"]
mod redis_server;
#[path = "servers/s3.rs"]
mod s3_server;

#[path = "servers/sentinels.rs"]
#[allow(dead_code, reason = "the tests of failovers use the rest")]
mod sentinel_servers;
#[path = "servers/worlds.rs"]
mod worlds;

mod blobs {
    pub mod ends;
    pub mod given;
    pub mod reads;
    pub mod writes;
}

use std::any::Any;
use std::sync::Arc;

use onetimeshare::blobs::Blobs;

/// An empty store, seen by two processes; or by one twice, where it can't be shared.
pub struct World {
    pub here: Arc<dyn Blobs>,
    pub there: Arc<dyn Blobs>,
    _held: Box<dyn Any + Send>,
}

fn of(worlds::Pair { here, there, held }: worlds::Pair) -> World {
    use onetimeshare::blobs::redis::RedisBlobs;

    World { here: Arc::new(RedisBlobs::new(here)), there: Arc::new(RedisBlobs::new(there)), _held: held }
}

async fn redis() -> World {
    of(worlds::one().await)
}

async fn cluster() -> World {
    of(worlds::cluster().await)
}

async fn moving_cluster() -> World {
    of(worlds::moving_cluster().await)
}

async fn sentinels() -> World {
    of(worlds::sentinels().await)
}

async fn files() -> World {
    use onetimeshare::blobs::files::Files;

    let folder = tempfile::tempdir().expect("a folder");
    let here = Arc::new(Files::open(folder.path()).expect("a store"));
    let there = Arc::new(Files::open(folder.path()).expect("a store"));
    World { here, there, _held: Box::new(folder) }
}

async fn bucket() -> World {
    world_in(s3_server::S3Server::start()).await
}

/// A bucket whose server answers a fifth of all requests with 500 or 503.
async fn failing_bucket() -> World {
    let server = s3_server::S3Server::start();
    server.fail(20);
    world_in(server).await
}

async fn world_in(server: s3_server::S3Server) -> World {
    use onetimeshare::blobs::objects::Objects;

    let open = || Objects::open(s3_server::BUCKET, "some/prefix", "0123456789abcdef", server.variables());
    let (here, there) = (Arc::new(open().await.expect("a bucket")), Arc::new(open().await.expect("a bucket")));
    World { here, there, _held: Box::new(server) }
}

macro_rules! promises {
    ($($room:ident: $($promise:ident)+;)+) => {
        promises!(on redis: $($($room $promise)+)+);
        promises!(on cluster: $($($room $promise)+)+);
        promises!(on moving_cluster: $($($room $promise)+)+);
        promises!(on sentinels: $($($room $promise)+)+);
        promises!(on files: $($($room $promise)+)+);
        promises!(on bucket: $($($room $promise)+)+);
        promises!(on failing_bucket: $($($room $promise)+)+);
    };
    (on $backend:ident: $($room:ident $promise:ident)+) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::blobs::$room::$promise(super::$backend().await).await;
                }
            )+
        }
    };
}

promises! {
    writes:
        what_was_written_is_read
        pieces_may_have_any_size
        writing_goes_on_at_any_offset
        one_writer_goes_on_after_each_sync
        what_was_synced_outlives_its_writer
        two_writers_of_the_same_bytes_leave_them
        a_writer_that_lags_cuts_nothing_off
        what_is_written_again_is_what_is_read
        a_writer_waits_for_a_store_that_is_behind
        a_writer_that_stalls_holds_up_nobody
        blobs_are_apart;
    reads:
        any_range_can_be_read
        pieces_are_at_most_a_mebibyte
        an_empty_range_is_empty
        many_read_at_once
        a_reader_that_stops_disturbs_nobody
        what_was_never_written_is_missing
        bytes_past_the_end_are_missing;
    ends:
        what_is_freed_is_missing
        freeing_nothing_is_fine
        freeing_one_leaves_the_others
        what_is_kept_can_be_read
        what_can_not_fit_has_no_room
        blobs_say_that_they_answer;
}
