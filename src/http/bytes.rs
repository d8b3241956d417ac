//! Bytes on their way out: Range, ETag and the headers that keep a browser from showing them.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::task::AtomicWaker;

use super::error::Error;

/// What of a representation a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The bytes.
    pub(crate) range: Range<u64>,
    /// How many there are in all.
    pub(crate) total: u64,
    partial: bool,
    etag: String,
}

impl Wanted {
    /// Reads Range and If-Range (RFC 9110 §14.2, §13.1.5). Several ranges at once are answered with the whole, as it permits.
    ///
    /// # Errors
    /// [`Error::Range`] where the range begins beyond the end.
    pub(crate) fn of(headers: &HeaderMap, total: u64, tag: &str) -> Result<Self, Error> {
        let etag = format!("\"{tag}\"");
        let same = headers.get(header::IF_RANGE).is_none_or(|condition| condition.as_bytes() == etag.as_bytes());
        let asked = headers.get(header::RANGE).filter(|_| same).and_then(|value| value.to_str().ok()).and_then(single);
        let range = match asked {
            None => return Ok(Self { range: 0..total, total, partial: false, etag }),
            Some((Some(first), last)) => first..last.map_or(total, |last| last.saturating_add(1).min(total)),
            Some((None, last)) => total.saturating_sub(last.unwrap_or(0))..total,
        };
        if range.is_empty() { Err(Error::Range(total)) } else { Ok(Self { range, total, partial: true, etag }) }
    }

    /// How many bytes are asked for.
    pub(crate) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The answer, with `body` for its bytes.
    pub(crate) fn answer(&self, body: Body) -> Response {
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, self.length().into());
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        headers.extend(HeaderValue::from_str(&self.etag).ok().map(|value| (header::ETAG, value)));
        if self.partial {
            let range = format!("bytes {}-{}/{}", self.range.start, self.range.end - 1, self.total);
            headers.extend(HeaderValue::from_str(&range).ok().map(|value| (header::CONTENT_RANGE, value)));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    }
}

/// `bytes=FIRST-LAST`, either of which may be missing; `None` for anything else.
fn single(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|c| c.is_ascii_digit()) => Some(Some(digits.parse().unwrap_or(u64::MAX))),
        _ => None,
    };
    let (first, last) = (number(first)?, number(last)?);
    let backwards = first.zip(last).is_some_and(|(first, last)| last < first);
    if backwards || (first.is_none() && last.is_none()) { None } else { Some((first, last)) }
}

/// A body that streams, one piece after the other.
pub(crate) fn streamed<E>(pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Body
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    Body::from_stream(Streamed { pieces: Box::pin(pieces), sending: Arc::default() })
}

/// Asks for the next piece once the one before is sent: HTTP would else fill a buffer for each slow client.
struct Streamed<S> {
    pieces: Pin<Box<S>>,
    sending: Arc<Sending>,
}

/// Whether a piece is being sent, and whom to wake once it is.
#[derive(Default)]
struct Sending {
    now: AtomicBool,
    next: AtomicWaker,
}

impl<S: Stream<Item = Result<Bytes, E>>, E> Stream for Streamed<S> {
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.sending.next.register(cx.waker());
        if self.sending.now.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let piece = ready!(self.pieces.as_mut().poll_next(cx));
        Poll::Ready(piece.map(|piece| piece.map(|bytes| Piece::of(bytes, &self.sending))))
    }
}

/// A piece that tells when it is let go of.
struct Piece {
    bytes: Bytes,
    sending: Arc<Sending>,
}

impl Piece {
    fn of(bytes: Bytes, sending: &Arc<Sending>) -> Bytes {
        sending.now.store(true, Ordering::Release);
        Bytes::from_owner(Self { bytes, sending: Arc::clone(sending) })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.sending.now.store(false, Ordering::Release);
        self.sending.next.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(range: &str, if_range: Option<&str>) -> Result<Wanted, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        headers.extend(if_range.map(|tag| (header::IF_RANGE, tag.parse().unwrap())));
        Wanted::of(&headers, 100, "tag")
    }

    #[test]
    fn a_range_is_what_was_asked_for() {
        for (asked, range) in [
            ("bytes=0-", 0..100),
            ("bytes=0-0", 0..1),
            ("bytes=99-", 99..100),
            ("bytes=50-1000", 50..100),
            ("bytes=-10", 90..100),
            ("bytes=-1000", 0..100),
        ] {
            let wanted = wanted(asked, None).unwrap();
            assert_eq!((wanted.range, wanted.partial), (range, true), "{asked}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_refused_with_the_length() {
        for asked in ["bytes=100-", "bytes=200-300", "bytes=-0"] {
            assert_eq!(wanted(asked, None), Err(Error::Range(100)), "{asked}");
        }
    }

    #[test]
    fn what_is_no_single_range_is_answered_with_the_whole() {
        for asked in ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=-", "bytes=9-3"] {
            let wanted = wanted(asked, None).unwrap();
            assert_eq!((wanted.range, wanted.partial), (0..100, false), "{asked}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_answered_with_the_whole() {
        assert!(wanted("bytes=5-", Some("\"tag\"")).unwrap().partial);
        assert!(!wanted("bytes=5-", Some("\"other\"")).unwrap().partial);
    }
}
