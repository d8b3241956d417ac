//! Gone is gone.

use onetimeshare::blobs::Error;
use onetimeshare::share::ShareId;

use super::given::*;
use crate::World;

pub async fn what_is_freed_is_missing(world: World) {
    for length in [5, MIB - 64, 3 * MIB, 70 * MIB] {
        let (id, _) = blob(&*world.here, length).await;
        assert_eq!(world.there.free(&id, 0).await, Ok(()));
        assert_eq!(read(&*world.here, &id, 0..1).await, Err(Error::Missing));
        assert_eq!(read(&*world.here, &id, length - 1..length).await, Err(Error::Missing));
        assert!(!world.here.all().await.unwrap().contains(&id));
    }
}

pub async fn freeing_nothing_is_fine(world: World) {
    assert_eq!(world.here.free(&ShareId::random(), 0).await, Ok(()));
    let (id, _) = blob(&*world.here, MIB).await;
    for _ in 0..3 {
        assert_eq!(world.there.free(&id, 0).await, Ok(()));
    }
}

pub async fn freeing_one_leaves_the_others(world: World) {
    let (freed, _) = blob(&*world.here, 2 * MIB).await;
    let (left, content) = blob(&*world.here, 2 * MIB).await;
    world.here.free(&freed, 0).await.unwrap();
    assert_holds(&*world.there, &left, &content).await;
}

pub async fn what_is_kept_can_be_read(world: World) {
    let (id, content) = blob(&*world.here, 2 * MIB + 5).await;
    assert_eq!(world.there.keep(&id, until()).await, Ok(()));
    assert_holds(&*world.here, &id, &content).await;
    assert_eq!(world.there.keep(&ShareId::random(), until()).await, Ok(()));
}

pub async fn what_can_not_fit_has_no_room(world: World) {
    assert_eq!(world.here.room(1).await, Ok(()));
    assert_eq!(world.here.room(1 << 60).await, Err(Error::Full));
}

pub async fn blobs_say_that_they_answer(world: World) {
    assert_eq!(world.here.ping().await, Ok(()));
}
