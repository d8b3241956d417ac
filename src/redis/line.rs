//! A connection that many calls of one thread share: what they ask in one turn of the thread goes out in one write, and their answers come
//! in one read.
//!
//! The driver's connection writes 8 KiB at a time, sets a timer for each call, and copies what it reads once more. It is left with TLS.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ::redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::io::{poll_read_buf, poll_write_buf};
use tokio_util::task::AbortOnDropHandle;

use super::answers::Answers;
use super::topology::{Node, OPENED_WITHIN, Stream, connect, login};

/// Of a buffer for what goes out, so much stays when it is empty.
const KEPT: usize = 64 * 1024;
/// So much may wait to go out; a Redis that takes no more than that is no use to whoever asks next.
const WAITING: usize = 16 * 1024 * 1024;

/// A connection; clones are the same one. Dropped with the last of them.
#[derive(Clone)]
pub(super) struct Line {
    state: Arc<Mutex<State>>,
    _carrier: Arc<AbortOnDropHandle<()>>,
}

/// What callers and the carrier have in common.
#[derive(Default)]
struct State {
    /// What is not yet on its way.
    out: Vec<u8>,
    /// Whom the answers belong to, in order.
    asked: VecDeque<Asked>,
    /// The carrier, where it waits.
    carrier: Option<Waker>,
    /// Nothing can be asked any more.
    over: bool,
}

struct Asked {
    since: Instant,
    /// How many answers belong to it, and those that came.
    wanted: usize,
    answers: Vec<Value>,
    to: oneshot::Sender<RedisResult<Vec<Value>>>,
}

impl Line {
    /// Connects, to a node that takes writes; each answer may take as long as `within`. Where it takes longer, or where the node is left, all
    /// that was asked fails, and whatever is asked from then on.
    pub(super) async fn open(node: &Node, within: Duration) -> RedisResult<Self> {
        let opened = timeout(OPENED_WITHIN, async {
            let line = Self::over(connect(node.info().addr()).await?, node.clone(), within);
            for command in login(node.info()) {
                line.query(&command).await?;
            }
            for command in node.greeting() {
                node.believe(line.query(&command).await?)?;
            }
            Ok(line)
        });
        opened.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    fn over(stream: Stream, node: Node, within: Duration) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let carrier = Carrier {
            stream,
            within,
            state: Arc::clone(&state),
            sending: io::Cursor::default(),
            answers: Answers::default(),
            late: Box::pin(tokio::time::sleep(within)),
        };
        let end = End(Arc::clone(&state));
        let carry = async move {
            let error = tokio::select! {
                error = carrier => error,
                () = node.left() => io::Error::from(io::ErrorKind::ConnectionAborted).into(),
            };
            end.come().into_iter().for_each(|asked| drop(asked.to.send(Err(error.clone()))));
        };
        Self { state, _carrier: Arc::new(AbortOnDropHandle::new(tokio::spawn(carry))) }
    }

    /// Sends one command.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        let answers = self.ask(&[command])?;
        answered(answers).await?.pop().unwrap_or(Value::Nil).extract_error()
    }

    /// Sends several commands. The first error among the answers counts for all.
    pub(super) async fn query_all(&self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        if commands.is_empty() {
            // Who asks nothing would be taken for the one whom the next answer belongs to.
            return Ok(Vec::new());
        }
        let answers = self.ask(commands)?;
        answered(answers).await?.into_iter().map(Value::extract_error).collect()
    }

    fn ask(&self, commands: &[&Cmd]) -> RedisResult<oneshot::Receiver<RedisResult<Vec<Value>>>> {
        let (to, answers) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.over {
            // Nothing was sent: it may be asked on another connection.
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        if state.out.len() > WAITING {
            return Err((ErrorKind::Client, "too much waits for Redis").into());
        }
        commands.iter().for_each(|command| command.write_packed_command(&mut state.out));
        let wanted = commands.len();
        state.asked.push_back(Asked { since: Instant::now(), wanted, answers: Vec::with_capacity(wanted), to });
        let carrier = state.carrier.take();
        drop(state);
        carrier.into_iter().for_each(Waker::wake);
        Ok(answers)
    }
}

async fn answered(answers: oneshot::Receiver<RedisResult<Vec<Value>>>) -> RedisResult<Vec<Value>> {
    answers.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::BrokenPipe).into()))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Comes with the carrier's task, however that ends: whoever asked is not left waiting.
struct End(Arc<Mutex<State>>);

impl End {
    /// Nothing can be asked from now on. Gives whoever still waits.
    fn come(&self) -> VecDeque<Asked> {
        let mut state = lock(&self.0);
        state.over = true;
        mem::take(&mut state.asked)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.come();
    }
}

/// Writes what was asked, and hands out what is answered. Resolves to why it can't any more.
struct Carrier {
    stream: Stream,
    within: Duration,
    state: Arc<Mutex<State>>,
    sending: io::Cursor<Vec<u8>>,
    answers: Answers,
    /// When it has to be looked whether an answer is late.
    late: Pin<Box<Sleep>>,
}

impl Carrier {
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<RedisError> {
        loop {
            while let Some(answer) = match self.answers.next() {
                Ok(answer) => answer,
                Err(error) => return Poll::Ready(error),
            } {
                self.hand_out(answer);
            }
            let stream = self.stream.as_mut();
            let read = match self.answers.room() {
                (buffer, None) => poll_read_buf(stream, cx, buffer),
                (buffer, Some(most)) => poll_read_buf(stream, cx, &mut bytes::BufMut::limit(buffer, most)),
            };
            match ready!(read) {
                Ok(0) => return Poll::Ready(io::Error::from(io::ErrorKind::BrokenPipe).into()),
                Ok(_) => {}
                Err(error) => return Poll::Ready(error.into()),
            }
        }
    }

    fn hand_out(&self, answer: Value) {
        let mut state = lock(&self.state);
        let Some(asked) = state.asked.front_mut() else { return };
        asked.answers.push(answer);
        if asked.answers.len() >= asked.wanted
            && let Some(Asked { answers, to, .. }) = state.asked.pop_front()
        {
            drop(state);
            // Whoever asked may have gone.
            let _ = to.send(Ok(answers));
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<RedisError> {
        loop {
            if self.sending.position() == self.sending.get_ref().len() as u64 {
                self.sending.set_position(0);
                self.sending.get_mut().clear();
                self.sending.get_mut().shrink_to(KEPT);
                let mut state = lock(&self.state);
                if state.out.is_empty() {
                    return Poll::Pending;
                }
                mem::swap(&mut state.out, self.sending.get_mut());
            }
            match ready!(poll_write_buf(self.stream.as_mut(), cx, &mut self.sending)) {
                Ok(0) => return Poll::Ready(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(_) => {}
                Err(error) => return Poll::Ready(error.into()),
            }
        }
    }

    /// Resolves once an answer is late. One timer for all: it is set anew when it fires.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<RedisError> {
        while self.late.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let first = lock(&self.state).asked.front().map_or(now, |asked| asked.since);
            if first + self.within <= now {
                return Poll::Ready(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            self.late.as_mut().reset(first + self.within);
        }
        Poll::Pending
    }
}

impl Future for Carrier {
    type Output = RedisError;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RedisError> {
        let this = self.get_mut();
        lock(&this.state).carrier = Some(cx.waker().clone());
        for step in [Self::read, Self::write, Self::watch] {
            if let Poll::Ready(error) = step(this, cx) {
                return Poll::Ready(error);
            }
        }
        Poll::Pending
    }
}
