//! Blobs in a bucket that speaks S3: `<prefix>/<ledger>/<share>/<from>-<to>`, objects of up to 8 MiB.
//!
//! An object holds the bytes `from..to` of its blob and is never appended to: whoever goes on writes the next one, in whichever
//! process. What there is shows a listing, which has to be up to date, as all of S3 is today.

mod extent;
mod start;
mod writer;

use std::borrow::Cow;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{ListResult, ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use self::extent::{Extent, Part, cover};
use self::writer::ObjectWriter;
use super::{Blobs, Error, Outlet, Pieces, Result, Writer};
use crate::share::{ShareId, Timestamp};

/// Bytes in an object at the most. A reader relies on no object being longer: raise it only with what is stored in mind.
const OBJECT: u64 = 8 << 20;
/// Bytes in a blob at the most: an offset has twelve hexadecimal digits in a name.
const MOST: u64 = 1 << 48;
/// Objects that all writers together have on their way.
const OBJECTS_UNDER_WAY: usize = 4;
/// Pieces that one reader has under way or waiting.
const READS_AHEAD: usize = 2;
/// An answer to [`Blobs::ping`] holds for so long, and may take so long.
const PINGED: Duration = Duration::from_secs(3);

/// Sealed bytes in a bucket.
pub struct Objects {
    shelf: Arc<Shelf>,
    under_way: Arc<Semaphore>,
    writers: Arc<AtomicUsize>,
    answered: Mutex<Option<Instant>>,
}

/// Where in the bucket one ledger's blobs are.
struct Shelf {
    bucket: AmazonS3,
    /// What the names of all objects here begin with; `/` is its end.
    home: String,
}

impl Objects {
    fn on(shelf: Shelf) -> Self {
        Self {
            shelf: Arc::new(shelf),
            under_way: Arc::new(Semaphore::new(OBJECTS_UNDER_WAY)),
            writers: Arc::default(),
            answered: Mutex::default(),
        }
    }

    /// Which objects have the bytes of `range`. [`Error::Missing`] where one is not there.
    async fn parts(&self, id: &ShareId, range: Range<u64>) -> Result<Vec<Part>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        cover(&self.extents(id, &range).await?, &range).ok_or(Error::Missing)
    }

    /// The objects that may have bytes of `range`, in order.
    async fn extents(&self, id: &ShareId, range: &Range<u64>) -> Result<Vec<Extent>> {
        let folder = self.shelf.folder(id);
        let before = range.start.checked_sub(OBJECT).map(|from| format!("{folder}{from:012x}"));
        let mut pages = self.shelf.pages(&folder, PaginatedListOptions { offset: before, ..Default::default() });
        let mut extents: Vec<Extent> = Vec::new();
        // Names are listed in their order: what follows the range is of no interest.
        while extents.last().is_none_or(|last| last.from < range.end)
            && let Some(page) = pages.try_next().await?
        {
            extents.extend(page.objects.iter().filter_map(Extent::of));
        }
        Ok(extents)
    }
}

impl Shelf {
    fn folder(&self, id: &ShareId) -> String {
        format!("{}{id}/", self.home)
    }

    async fn list(&self, folder: &str, options: PaginatedListOptions) -> Result<PaginatedListResult> {
        self.bucket.list_paginated(Some(folder), options).await.map_err(failure)
    }

    /// All that [`Shelf::list`] gives, a page at a time.
    fn pages(&self, folder: &str, options: PaginatedListOptions) -> BoxStream<'_, Result<ListResult>> {
        let folder = folder.to_owned();
        let next = move |options: Option<PaginatedListOptions>| {
            let folder = folder.clone();
            async move {
                let Some(options) = options else { return Ok(None) };
                let page = self.list(&folder, options.clone()).await?;
                let next = page.page_token.map(|token| PaginatedListOptions { page_token: Some(token), ..options });
                Ok(Some((page.result, next)))
            }
        };
        stream::try_unfold(Some(options), next).boxed()
    }

    /// Some bytes of an object, in one answer.
    async fn get(&self, name: Path, range: Range<u64>) -> Result<Bytes> {
        match self.bucket.get_range(&name, range.clone()).await {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Err(Error::Missing),
            Err(error) => Err(failure(error)),
        }
    }
}

#[async_trait]
impl Blobs for Objects {
    async fn write(&self, id: &ShareId, offset: u64, _until: Timestamp) -> Result<Box<dyn Writer>> {
        // Writing further on would leave a hole.
        self.parts(id, offset.saturating_sub(1)..offset).await?;
        let (under_way, writers) = (Arc::clone(&self.under_way), Arc::clone(&self.writers));
        Ok(Box::new(ObjectWriter::new(Arc::clone(&self.shelf), under_way, writers, *id, offset)))
    }

    async fn read(&self, id: &ShareId, range: Range<u64>, _outlet: Option<Outlet>) -> Result<Pieces> {
        let parts = self.parts(id, range).await?;
        let (shelf, folder) = (Arc::clone(&self.shelf), self.shelf.folder(id));
        let get = move |part: Part| {
            let (shelf, name) = (Arc::clone(&shelf), part.extent.name(&folder));
            // By itself, so that a bucket's answer is taken in time although the client takes its own.
            let got = async move { shelf.get(name, part.within).await };
            async move {
                let got = AbortOnDropHandle::new(tokio::spawn(got)).await;
                got.map_err(|error| Error::Unavailable(error.to_string())).flatten()
            }
        };
        let pieces = parts.into_iter().flat_map(Part::pieces).map(get);
        let mut pieces = Box::pin(stream::iter(pieces).buffered(READS_AHEAD).peekable());
        // What can't be had from the start is told before anybody is promised anything.
        if let Some(Err(error)) = Pin::as_mut(&mut pieces).peek().await {
            return Err(error.clone());
        }
        Ok(pieces)
    }

    async fn keep(&self, _id: &ShareId, _until: Timestamp) -> Result<()> {
        Ok(())
    }

    async fn free(&self, id: &ShareId, _reached: u64) -> Result<()> {
        let folder = self.shelf.folder(id);
        let mut pages = self.shelf.pages(&folder, PaginatedListOptions::default());
        while let Some(page) = pages.try_next().await? {
            let names: Vec<_> = page.objects.into_iter().map(|object| Ok(object.location)).collect();
            let freed = self.shelf.bucket.delete_stream(stream::iter(names).boxed());
            // One that another has just freed is no failure.
            let failed = |error| async move {
                match error {
                    object_store::Error::NotFound { .. } => Ok(()),
                    error => Err(failure(error)),
                }
            };
            freed.map_ok(drop).or_else(failed).try_for_each(|()| async { Ok(()) }).await?;
        }
        Ok(())
    }

    async fn room(&self, bytes: u64) -> Result<()> {
        // A bucket does not tell: where a quota ends it, writing does. Only names are bounded.
        if bytes > MOST { Err(Error::Full) } else { Ok(()) }
    }

    async fn all(&self) -> Result<Vec<ShareId>> {
        let folders = PaginatedListOptions { delimiter: Some(Cow::Borrowed("/")), ..Default::default() };
        let mut pages = self.shelf.pages(&self.shelf.home, folders);
        let mut ids = Vec::new();
        while let Some(page) = pages.try_next().await? {
            ids.extend(page.common_prefixes.iter().filter_map(|folder| folder.filename()?.parse::<ShareId>().ok()));
        }
        Ok(ids)
    }

    async fn written(&self, id: &ShareId) -> Result<Option<Timestamp>> {
        let extents = self.extents(id, &(0..u64::MAX)).await?;
        Ok(extents.iter().map(|extent| Timestamp(extent.written)).max())
    }

    async fn ping(&self) -> Result<()> {
        let answered = || self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered().is_some_and(|at| at.elapsed() < PINGED) {
            return Ok(());
        }
        let one = PaginatedListOptions { max_keys: Some(1), ..Default::default() };
        match tokio::time::timeout(PINGED, self.shelf.list(&self.shelf.home, one)).await {
            Ok(listed) => listed.map(drop)?,
            Err(_) => return Err(Error::Unavailable("the bucket does not answer".to_owned())),
        }
        *answered() = Some(Instant::now());
        Ok(())
    }
}

/// What the bucket said, in words without any name of an object: those are shares' ids.
fn failure(error: object_store::Error) -> Error {
    match reason(&error) {
        Reason::Refused { code, .. } if FULL.contains(&&*code) => Error::Full,
        Reason::Refused { code, .. } => Error::Unavailable(format!("the bucket says {code}")),
        Reason::Away(how) => Error::Unavailable(format!("the bucket's server {how}")),
    }
}

/// What S3 and its kin say where a quota, or a disk, is full.
const FULL: [&str; 4] = ["QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "InsufficientStorage"];

/// Why a request failed for good.
enum Reason {
    /// The server answered so: `NoSuchBucket`, or the status in words where that is all it says.
    Refused { status: u16, code: String },
    /// There was no answer.
    Away(&'static str),
}

fn reason(error: &object_store::Error) -> Reason {
    let causes = || std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    if let Some(refused) = causes().find_map(|cause| refused(&cause.to_string())) {
        return refused;
    }
    Reason::Away(match causes().find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => "can't be reached",
        Some(HttpErrorKind::Timeout) => "does not answer in time",
        Some(_) => "broke the connection",
        None => "does not speak S3",
    })
}

/// Reads `… status code: 404 Not Found: <Error><Code>NoSuchBucket</Code>…`: the driver has it in its text only.
fn refused(text: &str) -> Option<Reason> {
    let said = text.split_once("status code: ")?.1;
    let code = said.split_once("<Code>").and_then(|(_, rest)| Some(rest.split_once("</Code>")?.0));
    let code = code.filter(|code| code.len() < 60 && code.chars().all(|c| c.is_ascii_alphanumeric()));
    let status = said.split(':').next()?;
    Some(Reason::Refused { status: status.get(..3)?.parse().ok()?, code: code.unwrap_or(status).to_owned() })
}
