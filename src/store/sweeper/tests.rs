use std::collections::HashSet;
use std::ops::Range;
use std::sync::Mutex;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::time::timeout;

use super::*;
use crate::blobs::{self, Blobs, Outlet, Pieces, Writer};
use crate::ledger::sqlite::Sqlite;
use crate::ledger::{Ledger, NewUpload, Terms};
use crate::share::{Digest, Token};
use crate::store::Limits;

const HOUR: Duration = Duration::from_secs(3600);

/// Blobs that can do little but free.
#[derive(Clone, Default)]
struct Freeing {
    stubborn: HashSet<ShareId>,
    /// Where each waits until so many are being freed.
    together: Option<Arc<Barrier>>,
    freed: Arc<Mutex<HashSet<ShareId>>>,
    /// Written long ago.
    present: Vec<ShareId>,
}

#[async_trait]
impl Blobs for Freeing {
    async fn free(&self, id: &ShareId, _reached: u64) -> blobs::Result<()> {
        if self.stubborn.contains(id) {
            return Err(blobs::Error::Unavailable("stubborn".into()));
        }
        if let Some(together) = &self.together {
            together.wait().await;
        }
        self.freed.lock().unwrap().insert(*id);
        Ok(())
    }

    async fn write(&self, _: &ShareId, _: u64, _: Timestamp) -> blobs::Result<Box<dyn Writer>> {
        unimplemented!()
    }

    async fn read(&self, _: &ShareId, _: Range<u64>, _: Option<Outlet>) -> blobs::Result<Pieces> {
        unimplemented!()
    }

    async fn keep(&self, _: &ShareId, _: Timestamp) -> blobs::Result<()> {
        unimplemented!()
    }

    async fn room(&self, _: u64) -> blobs::Result<()> {
        unimplemented!()
    }

    async fn all(&self) -> blobs::Result<Vec<ShareId>> {
        Ok(self.present.clone())
    }

    async fn written(&self, _: &ShareId) -> blobs::Result<Option<Timestamp>> {
        Ok(Some(Timestamp(0)))
    }

    async fn ping(&self) -> blobs::Result<()> {
        unimplemented!()
    }
}

/// A ledger with so many uploads that were given up, one after another.
async fn given_up(folder: &TempDir, count: usize) -> (Sqlite, Vec<ShareId>) {
    let ledger = Sqlite::open(folder.path(), None).unwrap();
    let mut ids = Vec::new();
    for past in (1..=count).rev() {
        let (id, at) = (ShareId::random(), Timestamp(now().0 - past as i64));
        let [token, owner, verifier] = [(); 3].map(|()| Token::random().digest());
        ledger.begin(&upload(id, token, owner, verifier, at), at).await.unwrap();
        ledger.abandon(&id, &token, at).await.unwrap();
        ids.push(id);
    }
    (ledger, ids)
}

fn upload(id: ShareId, token: Digest, owner: Digest, verifier: Digest, at: Timestamp) -> NewUpload {
    let terms = Terms { verifier, password: false, expires_in: HOUR, downloads: 1 };
    let window_ends_at = at.after(HOUR);
    NewUpload { id, token, owner, terms, length: Some(1 << 20), manifest_len: 0, window_ends_at, resumable: true }
}

fn store(ledger: Sqlite, blobs: &Freeing) -> Arc<Store> {
    let limits = Limits { max_size: 1 << 30, lease: HOUR, upload_window: HOUR };
    Store::new(Box::new(ledger), Box::new(blobs.clone()), limits)
}

#[tokio::test]
async fn what_can_not_be_freed_holds_up_nobody() {
    let folder = TempDir::new().unwrap();
    let (ledger, ids) = given_up(&folder, 150).await;
    // More than are looked at in one go, and all of them first.
    let (stubborn, others) = ids.split_at(120);
    let blobs = Freeing { stubborn: stubborn.iter().copied().collect(), ..Freeing::default() };
    let store = store(ledger, &blobs);
    sweep(&store).await.unwrap();
    assert_eq!(*blobs.freed.lock().unwrap(), others.iter().copied().collect());
    assert_eq!(store.ledger.due(now()).await, Ok(vec![]));

    let later = store.ledger.due(now().after(AGAIN)).await.unwrap();
    assert!(!later.is_empty() && later.iter().all(|(id, _)| stubborn.contains(id)), "{later:?}");
}

#[tokio::test]
async fn an_orphan_that_can_not_be_freed_holds_up_no_other() {
    let folder = TempDir::new().unwrap();
    let orphans: Vec<ShareId> = (0..5).map(|_| ShareId::random()).collect();
    let blobs = Freeing { stubborn: [orphans[1]].into(), present: orphans.clone(), ..Freeing::default() };
    let store = store(Sqlite::open(folder.path(), None).unwrap(), &blobs);
    let others: HashSet<ShareId> = orphans.iter().copied().filter(|id| *id != orphans[1]).collect();
    store.free_orphans(now()).await.unwrap();
    assert_eq!(std::mem::take(&mut *blobs.freed.lock().unwrap()), others);
    store.tidy(orphans).await.unwrap();
    assert_eq!(*blobs.freed.lock().unwrap(), others);
}

#[tokio::test]
async fn several_are_freed_at_the_same_time() {
    let folder = TempDir::new().unwrap();
    let (ledger, ids) = given_up(&folder, 3 * AT_ONCE).await;
    let blobs = Freeing { together: Some(Arc::new(Barrier::new(AT_ONCE))), ..Freeing::default() };
    timeout(HOUR / 60, sweep(&store(ledger, &blobs))).await.expect("one waits for another").unwrap();
    assert_eq!(*blobs.freed.lock().unwrap(), ids.into_iter().collect());
}
