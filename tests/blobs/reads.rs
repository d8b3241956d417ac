//! What was written can be read from anywhere, and what was not is never made up.

use futures_util::{StreamExt, TryStreamExt};
use onetimeshare::blobs::Error;
use onetimeshare::share::ShareId;

use super::given::*;
use crate::World;

pub async fn any_range_can_be_read(world: World) {
    let (id, content) = blob(&*world.here, 3 * MIB + 11).await;
    let ends = EDGES.into_iter().chain([0, content.len() - 1, content.len()]);
    for start in ends.clone() {
        for end in ends.clone().filter(|end| *end >= start) {
            let read = read(&*world.there, &id, start..end).await.unwrap();
            assert!(read[..] == content[start..end], "{start}..{end}");
        }
    }
}

pub async fn pieces_are_at_most_a_mebibyte(world: World) {
    let (id, content) = blob(&*world.here, 4 * MIB + 11).await;
    let pieces = world.there.read(&id, 5..content.len() as u64, None).await.unwrap();
    let pieces: Vec<_> = pieces.try_collect().await.unwrap();
    assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= MIB));
    assert!(pieces.concat()[..] == content[5..]);
}

pub async fn an_empty_range_is_empty(world: World) {
    let (id, content) = blob(&*world.here, MIB).await;
    for at in [0, 5, content.len()] {
        assert_eq!(read(&*world.there, &id, at..at).await, Ok(vec![]));
    }
}

pub async fn many_read_at_once(world: World) {
    let (id, content) = blob(&*world.here, 4 * MIB + 11).await;
    let reads = (0..32).map(|number| read(&*world.there, &id, number * 1000..content.len()));
    for (number, read) in futures_util::future::join_all(reads).await.into_iter().enumerate() {
        assert!(read.unwrap()[..] == content[number * 1000..]);
    }
}

pub async fn a_reader_that_stops_disturbs_nobody(world: World) {
    let (id, content) = blob(&*world.here, 4 * MIB).await;
    let mut stopped = Vec::new();
    for _ in 0..32 {
        let mut pieces = world.here.read(&id, 0..content.len() as u64, None).await.unwrap();
        assert!(pieces.next().await.unwrap().is_ok());
        stopped.push(pieces);
    }
    assert_holds(&*world.here, &id, &content).await;
    drop(stopped);
    assert_holds(&*world.here, &id, &content).await;
}

pub async fn what_was_never_written_is_missing(world: World) {
    let id = ShareId::random();
    for range in [0..1, 0..3 * MIB, MIB..MIB + 5] {
        assert_eq!(read(&*world.here, &id, range).await, Err(Error::Missing));
    }
}

pub async fn bytes_past_the_end_are_missing(world: World) {
    for length in [500, MIB - 64, 2 * MIB] {
        let (id, _) = blob(&*world.here, length).await;
        for range in [0..length + 1, length - 1..length + 5, length..length + 1, 0..length + 3 * MIB] {
            assert_eq!(read(&*world.there, &id, range.clone()).await, Err(Error::Missing), "{range:?} of {length}");
        }
    }
}
