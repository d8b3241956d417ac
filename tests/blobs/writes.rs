//! What is written stays as it was written.

use std::time::Duration;

use bytes::Bytes;
use onetimeshare::share::ShareId;
use tokio::time::timeout;

use super::given::*;
use crate::World;

pub async fn what_was_written_is_read(world: World) {
    for length in EDGES.into_iter().chain([0, 5 * MIB + 7, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 17 * MIB]) {
        let (id, content) = blob(&*world.here, length).await;
        assert_holds(&*world.there, &id, &content).await;
    }
}

pub async fn pieces_may_have_any_size(world: World) {
    let content = content(3 * MIB + 5);
    for size in [4099, MIB - 64, MIB, content.len()] {
        let id = ShareId::random();
        let mut writer = world.here.write(&id, 0, until()).await.unwrap();
        for start in (0..content.len()).step_by(size) {
            writer.write(Bytes::new()).await.unwrap();
            writer.write(content.slice(start..content.len().min(start + size))).await.unwrap();
        }
        writer.sync().await.unwrap();
        assert_holds(&*world.there, &id, &content).await;
    }
}

pub async fn writing_goes_on_at_any_offset(world: World) {
    let content = content(2 * MIB + 777);
    for offset in EDGES {
        let id = ShareId::random();
        write(&*world.here, &id, 0, &content.slice(..offset)).await.unwrap();
        write(&*world.there, &id, offset, &content.slice(offset..)).await.unwrap();
        assert_holds(&*world.here, &id, &content).await;
    }
}

pub async fn one_writer_goes_on_after_each_sync(world: World) {
    let (id, content) = (ShareId::random(), content(2 * MIB + 777));
    let mut writer = world.here.write(&id, 0, until()).await.unwrap();
    let mut from = 0;
    for to in EDGES.into_iter().chain([content.len()]) {
        writer.write(content.slice(from..to)).await.unwrap();
        writer.sync().await.unwrap();
        assert_holds(&*world.there, &id, &content.slice(..to)).await;
        from = to;
    }
}

pub async fn what_was_synced_outlives_its_writer(world: World) {
    let (id, content) = (ShareId::random(), content(2 * MIB));
    let mut writer = world.here.write(&id, 0, until()).await.unwrap();
    writer.write(content.slice(..MIB + 9)).await.unwrap();
    writer.sync().await.unwrap();
    writer.write(content.slice(MIB + 9..MIB + 99)).await.unwrap();
    drop(writer);
    assert_holds(&*world.there, &id, &content.slice(..MIB + 9)).await;
    write(&*world.there, &id, MIB + 9, &content.slice(MIB + 9..)).await.unwrap();
    assert_holds(&*world.here, &id, &content).await;
}

pub async fn two_writers_of_the_same_bytes_leave_them(world: World) {
    let content = content(3 * MIB + 3);
    for _ in 0..20 {
        let id = ShareId::random();
        let (one, other) = tokio::join!(write(&*world.here, &id, 0, &content), write(&*world.there, &id, 0, &content));
        assert_eq!((one, other), (Ok(()), Ok(())));
        assert_holds(&*world.here, &id, &content).await;
    }
}

pub async fn a_writer_that_lags_cuts_nothing_off(world: World) {
    let (id, content) = blob(&*world.here, 2 * MIB + 500_000).await;
    for end in EDGES {
        write(&*world.there, &id, 0, &content.slice(..end)).await.unwrap();
        assert_holds(&*world.here, &id, &content).await;
    }
    write(&*world.there, &id, 2 * MIB, &content.slice(2 * MIB..2 * MIB + 5)).await.unwrap();
    assert_holds(&*world.here, &id, &content).await;
}

pub async fn what_is_written_again_is_what_is_read(world: World) {
    let (id, before) = blob(&*world.here, 3 * MIB + 5).await;
    let after: Bytes = before.iter().map(|byte| !byte).collect();
    write(&*world.there, &id, MIB + 7, &after.slice(MIB + 7..2 * MIB)).await.unwrap();
    let now = [&before[..MIB + 7], &after[MIB + 7..2 * MIB], &before[2 * MIB..]].concat();
    assert_holds(&*world.here, &id, &now.into()).await;
    write(&*world.here, &id, 0, &after).await.unwrap();
    assert_holds(&*world.there, &id, &after).await;
}

pub async fn a_writer_waits_for_a_store_that_is_behind(world: World) {
    let content = content(4 * MIB);
    let ids: Vec<ShareId> = (0..16).map(|_| ShareId::random()).collect();
    let writes = ids.iter().map(|id| write(&*world.here, id, 0, &content));
    for written in futures_util::future::join_all(writes).await {
        assert_eq!(written, Ok(()));
    }
    for id in &ids {
        assert_holds(&*world.there, id, &content).await;
    }
}

pub async fn a_writer_that_stalls_holds_up_nobody(world: World) {
    let (id, content) = (ShareId::random(), content(4 * MIB));
    let write_beside = async {
        let mut stalled = Vec::new();
        for _ in 0..16 {
            let mut writer = world.here.write(&ShareId::random(), 0, until()).await?;
            for start in (0..MIB + MIB / 4).step_by(100_000) {
                writer.write(content.slice(start..start + 100_000)).await?;
            }
            stalled.push(writer);
        }
        write(&*world.here, &id, 0, &content).await
    };
    assert_eq!(timeout(Duration::from_secs(60), write_beside).await, Ok(Ok(())));
    assert_holds(&*world.there, &id, &content).await;
}

pub async fn blobs_are_apart(world: World) {
    let (long, content) = blob(&*world.here, MIB + 1).await;
    let short = ShareId::random();
    write(&*world.here, &short, 0, &content.slice(5..50)).await.unwrap();
    assert_holds(&*world.there, &long, &content).await;
    assert_holds(&*world.there, &short, &content.slice(5..50)).await;
}
