//! Bytes on their way out: Range, ETag and the headers that keep a browser from showing them.

use std::ops::{Bound, Range};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use headers::{ETag, HeaderMapExt, IfRange};

use super::error::Error;

/// What of a representation a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The bytes.
    pub(crate) range: Range<u64>,
    /// How many there are in all.
    pub(crate) total: u64,
    partial: bool,
    etag: ETag,
}

impl Wanted {
    /// Reads Range and If-Range. Several ranges at once are answered with the whole, as RFC 9110 §14.2 permits.
    ///
    /// # Errors
    /// [`Error::Range`] where the range begins beyond the end.
    pub(crate) fn of(headers: &HeaderMap, total: u64, etag: &str) -> Result<Self, Error> {
        let etag: ETag = format!("\"{etag}\"").parse().map_err(|_| Error::Internal)?;
        let whole = Self { range: 0..total, total, partial: false, etag: etag.clone() };
        let Some(range) = headers.typed_get::<headers::Range>() else { return Ok(whole) };
        if headers.typed_get::<IfRange>().is_some_and(|condition| condition.is_modified(Some(&etag), None)) {
            return Ok(whole);
        }
        let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if asked.contains(',') {
            return Ok(whole);
        }
        let (start, end) = range.satisfiable_ranges(total).next().ok_or(Error::Range(total))?;
        let start = match start {
            Bound::Included(start) => start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match end {
            Bound::Included(end) => end.saturating_add(1).min(total),
            Bound::Excluded(end) => end.min(total),
            Bound::Unbounded => total,
        };
        if start >= end {
            return Err(Error::Range(total));
        }
        Ok(Self { range: start..end, partial: true, ..whole })
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
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        headers.typed_insert(self.etag.clone());
        if self.partial {
            let range = format!("bytes {}-{}/{}", self.range.start, self.range.end - 1, self.total);
            headers.extend(HeaderValue::from_str(&range).ok().map(|value| (header::CONTENT_RANGE, value)));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    }
}

/// A body that streams.
pub(crate) fn streamed<E>(pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Body
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    Body::from_stream(pieces)
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
        for asked in ["bytes=0-1,5-6", "lines=1-2", "bytes=x"] {
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
