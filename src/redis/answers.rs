//! Answers as they come in: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, version 2.

use ::redis::{ErrorKind, RedisError, RedisResult, Value};

/// Bytes that are read at once.
const READ: usize = 16 * 1024;
/// A value of so many bytes is read to where it stays.
const LONG: usize = 16 * 1024;
/// The longest value that Redis keeps (`proto-max-bulk-len` of redis.conf).
const LONGEST: usize = 512 * 1024 * 1024;
/// Arrays in arrays: scripts answer with a few.
const DEPTH: u32 = 8;

/// What was read, and not yet taken.
#[derive(Default)]
pub(super) struct Answers {
    buffer: Vec<u8>,
    /// Up to where it was taken.
    taken: usize,
    /// Nothing is whole before so many bytes more are there.
    missing: usize,
    /// A long value that is coming, and how many bytes it has with the line's end.
    long: Option<(Vec<u8>, usize)>,
}

impl Answers {
    /// Where to read to, and how many bytes at the most.
    pub(super) fn room(&mut self) -> (&mut Vec<u8>, Option<usize>) {
        if let Some((value, length)) = &mut self.long {
            let most = *length - value.len();
            return (value, Some(most));
        }
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            // What one long answer took is not kept for ever.
            self.buffer.shrink_to(4 * READ);
        } else {
            self.buffer.drain(..self.taken);
        }
        self.taken = 0;
        self.buffer.reserve(READ.max(self.missing.saturating_sub(self.buffer.len())));
        (&mut self.buffer, None)
    }

    /// The next answer, where it is there as a whole.
    ///
    /// # Errors
    /// Where what was read is no answer.
    pub(super) fn next(&mut self) -> RedisResult<Option<Value>> {
        if let Some((value, length)) = &self.long {
            if value.len() < *length {
                return Ok(None);
            }
            let (mut value, length) = self.long.take().unwrap_or_default();
            value.truncate(length - 2);
            return Ok(Some(Value::BulkString(value)));
        }
        let left = &self.buffer[self.taken..];
        if left.len() < self.missing {
            return Ok(None);
        }
        self.missing = 0;
        let mut parser = Parser { bytes: left, at: 0 };
        match parser.value(0) {
            Ok(value) => {
                self.taken += parser.at;
                Ok(Some(value))
            }
            Err(Stop::Malformed) => Err(malformed()),
            Err(Stop::Missing { whole }) => {
                self.missing = whole;
                if whole >= LONG && left[0] == b'$' {
                    let head = line_end(left).ok_or_else(malformed)?;
                    let mut value = Vec::with_capacity(whole - head);
                    value.extend_from_slice(&left[head..]);
                    self.long = Some((value, whole - head));
                    (self.taken, self.missing) = (self.buffer.len(), 0);
                }
                Ok(None)
            }
        }
    }
}

enum Stop {
    /// It isn't there as a whole before so many bytes are.
    Missing {
        whole: usize,
    },
    Malformed,
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: u32) -> Result<Value, Stop> {
        let begin = self.at;
        let line = self.line()?;
        let (kind, text) = line.split_first().ok_or(Stop::Malformed)?;
        let number = || std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(Stop::Malformed);
        match kind {
            b':' => Ok(Value::Int(number()?)),
            b'$' | b'*' if text.starts_with(b"-") => Ok(Value::Nil),
            b'$' => self.bytes(usize::try_from(number()?).map_err(|_| Stop::Malformed)?),
            b'*' if depth < DEPTH => {
                (0..number()?).map(|_| self.value(depth + 1)).collect::<Result<_, _>>().map(Value::Array)
            }
            // Rare, or short: the driver knows the words.
            b'+' | b'-' => ::redis::parse_redis_value(&self.bytes[begin..self.at]).map_err(|_| Stop::Malformed),
            _ => Err(Stop::Malformed),
        }
    }

    /// Up to the line's end, which is left out.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let left = &self.bytes[self.at..];
        let end = line_end(left).ok_or(Stop::Missing { whole: self.bytes.len() + 1 })?;
        self.at += end;
        Ok(&left[..end - 2])
    }

    fn bytes(&mut self, length: usize) -> Result<Value, Stop> {
        if length > LONGEST {
            return Err(Stop::Malformed);
        }
        let whole = self.at + length + 2;
        let value = self.bytes.get(self.at..whole).ok_or(Stop::Missing { whole })?;
        self.at = whole;
        Ok(Value::BulkString(value[..length].to_vec()))
    }
}

/// Where the line that `bytes` begin with ends, its end included.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'\r').filter(|end| end + 1 < bytes.len())?;
    Some(end + 2)
}

fn malformed() -> RedisError {
    (ErrorKind::Parse, "an answer of an unknown form").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these bytes where so many are read at a time.
    fn read(bytes: &[u8], at_a_time: usize) -> RedisResult<Vec<Value>> {
        let (mut answers, mut all) = (Answers::default(), Vec::new());
        let mut left = bytes;
        loop {
            while let Some(answer) = answers.next()? {
                all.push(answer);
            }
            if left.is_empty() {
                return Ok(all);
            }
            let (buffer, most) = answers.room();
            let (now, later) = left.split_at(left.len().min(at_a_time).min(most.unwrap_or(usize::MAX)));
            buffer.extend_from_slice(now);
            left = later;
        }
    }

    #[test]
    fn answers_are_read_as_the_driver_reads_them_however_they_come() {
        let long = [&b"$70000\r\n"[..], &[b'\r'; 70000], b"\r\n"].concat();
        let each: [&[u8]; 10] = [
            b"+OK\r\n",
            b"-ERR no such thing\r\n",
            b":-42\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$4\r\n\r\n\r\n\r\n",
            b"*-1\r\n",
            b"*3\r\n$2\r\nok\r\n:1\r\n*2\r\n$-1\r\n*0\r\n",
            &long,
            b"-MOVED 1 127.0.0.1:7001\r\n",
        ];
        let expected: Vec<Value> = each.iter().map(|one| ::redis::parse_redis_value(one).unwrap()).collect();
        for at_a_time in [1, 2, 3, 7, 1000, 16 * 1024, 100_000] {
            assert_eq!(read(&each.concat(), at_a_time).unwrap(), expected, "{at_a_time} at a time");
        }
    }

    #[test]
    fn a_long_value_in_an_array_is_read_too() {
        let bytes = [&b"*2\r\n$2\r\nok\r\n$60000\r\n"[..], &[7; 60000], b"\r\n:1\r\n"].concat();
        let array = Value::Array(vec![Value::BulkString(b"ok".to_vec()), Value::BulkString(vec![7; 60000])]);
        for at_a_time in [1, 4096, 70_000] {
            assert_eq!(read(&bytes, at_a_time).unwrap(), [array.clone(), Value::Int(1)]);
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let endless = b"$9223372036854775807\r\n";
        for bytes in [&b"HTTP/1.1 400\r\n"[..], b"$x\r\n", b"\r\n", b":1x\r\n", b"*1\r\n?\r\n", endless] {
            assert!(read(bytes, 3).is_err(), "{bytes:?}");
        }
        assert!(read(&b"*1\r\n".repeat(20), 100).is_err());
    }
}
