// The worker's side of a download: claims, fetches, unseals, verifies, writes, and finishes the claim.

import * as api from "./api.js";
import { Backoff, Rate, Watchdog, codeOf, secondsLeft, sleep, wake } from "./network.js";
import * as remember from "./remember.js";
import { CorruptError, HEADER, Message, RECORD, encode, plainLength, randomToken } from "./seal.js";
import { sinkFor } from "./sinks.js";
import { Whole } from "./whole.js";

/** Records that are being unsealed at once. */
const WIDTH = 4;
/** Plain bytes between two notes: what a reload fetches again at most. */
const NOTED = 16 * 2 ** 20;
/** Milliseconds between two states that differ in numbers only. */
const BEAT = 100;
/** A second tab gives up after so long; a page that was reloaded has ended by then. Milliseconds. */
const LOCKED = 2000;
/** Bytes that are read at a time: fewer and larger reads cost less. */
const BUFFER = 2 ** 20;
/** A connection that is not being read is not silent. */
const NEVER = 2 ** 31 - 1;
/** So often does a paused download show that it goes on, for so long: the lease would end. Milliseconds. */
const SIGN = 4 * 60_000;
const PAUSE = 24 * 3600_000;
const LEASE = 15 * 60_000;
/**
 * Bytes that are asked for at first, and after a connection broke; twice as many each time that all of them came. What the
 * server had sent and nobody got is charged to the claim: like this it is never much more than what did arrive since the
 * last break, and all of them together no more than the content once again, which is what the claim allows.
 */
const FIRST = 4 * 2 ** 20;
const AGAIN = 2 ** 20;
/** So many times is a claim whose budget seems spent asked again: what a dead connection reserved is given back. */
const SPENT = 4;
/** So many connections in a row may break off before a byte of the content came: then there are no more bytes. */
const BARREN = 6;

/** About when a lease ends that was used just now: what is remembered of it need not be exact. */
const soon = () => new Date(Date.now() + LEASE).toISOString();

/** The stream ends before the content does. */
class TruncatedError extends Error {
  code = "truncated";
}

/** Another tab of this browser is at it. */
class TakenElsewhere extends Error {
  code = "taken_elsewhere";
}

/** Reasons of aborts. */
const PAUSED = Symbol("paused");
const STOPPED = Symbol("stopped");

/**
 * @typedef {object} Start
 * @property {string} id
 * @property {string} secret base64url
 * @property {import("./seal.js").Keys} keys
 * @property {number} size bytes of sealed content
 * @property {import("./seal.js").Manifest} manifest
 * @property {string} kind of the plan
 * @property {FileSystemFileHandle} [handle] of a file that the user chose
 * @property {MessagePort} [port] to the service worker
 */

class Job {
  #stop = new AbortController();
  #attempt = new AbortController();
  /** @type {(() => void) | null} resumes */
  #paused = null;
  #running = Promise.resolve();

  /** @type {import("./remember.js").ClaimRecord} */
  #record;
  /** @type {import("./sinks.js").Sink | null} */
  #sink = null;
  /** @type {Whole} */
  #whole;
  /** @type {Message | null} once the header is there */
  #message = null;

  /** Bytes that are asked for at once. */
  #window = FIRST;
  /** Whether the content began to come. */
  #answered = false;
  /** The sealed offset that comes next. */
  #at = 0;
  /** The record that is verified and written next. */
  #next = 0;
  /** The record being put together. */
  #room = new Uint8Array(RECORD);
  /** Records being unsealed, from `#next` on. @type {Promise<Uint8Array<ArrayBuffer>>[]} */
  #flight = [];
  /** Plain bytes verified and written, and those of them that are noted. */
  #received = 0;
  #noted = 0;
  /** @type {Promise<unknown>} */
  #noting = Promise.resolve();

  #phase = "claiming";
  #rate = new Rate();
  #told = 0;

  /** @param {Start} start */
  constructor(start) {
    this.start = start;
    this.total = /** @type {number} */ (plainLength(start.size));
    this.records = Math.max(1, Math.ceil((start.size - HEADER) / RECORD));
  }

  /** Goes on until it is finished, or can't. */
  run() {
    this.#stop = new AbortController();
    return (this.#running = locked(`receive:${this.start.id}`, this.#stop.signal, () => this.#work()).catch((error) =>
      this.#failed(error),
    ));
  }

  pause() {
    if (this.#paused || !["receiving", "waiting"].includes(this.#phase)) return;
    this.#paused = () => {};
    this.#attempt.abort(PAUSED);
  }

  resume() {
    const go = this.#paused;
    this.#paused = null;
    go?.();
  }

  /** Ends what is under way, and keeps the claim and what is noted. */
  async stop() {
    this.#stop.abort(STOPPED);
    this.resume();
    await this.#running;
  }

  async #work() {
    const { id } = this.start;
    const record = await remember.get("claims", id);
    this.#record = record ?? (await this.#ask());
    const { state } = this.#record;
    if (state === "asked" || state === "granted") {
      // A browser's download begins with the first byte: not before there is one to come.
      const late = this.start.kind === "stream";
      if (!late) await this.#open();
      if (state === "asked") await this.#claim();
      if (late) await this.#open();
      await this.#receive();
      await this.#arrive();
    }
    await this.#finish();
  }

  /** The token is remembered before the server hears of it: whatever breaks now, it is the same claim. */
  async #ask() {
    const { id, secret, keys, manifest, size } = this.start;
    /** @type {import("./remember.js").ClaimRecord} */
    const record = { id, claim: encode(randomToken()), secret, keys, manifest, size, state: "asked", leaseExpiresAt: soon() };
    await remember.put("claims", record);
    return record;
  }

  /** @param {Partial<import("./remember.js").ClaimRecord>} changes */
  async #note(changes) {
    this.#record = { ...this.#record, ...changes };
    await remember.put("claims", this.#record);
  }

  async #claim() {
    this.#tell("claiming");
    const { id, keys, size, kind } = this.start;
    const ask = () => api.claim(id, encode(keys.proof), this.#record.claim, this.#stop.signal);
    const grant = await new Backoff().insist(ask, {
      signal: this.#stop.signal,
      waits: (error, milliseconds) => this.#tell("waiting", problem(error, milliseconds)),
    });
    if (grant.size !== size) throw new CorruptError("another size than the share's");
    const staged = kind === "staged" ? id : undefined;
    await this.#note({ state: "granted", leaseExpiresAt: grant.lease_expires_at, staged });
  }

  /** Opens where the bytes go, and finds what is there already. */
  async #open() {
    if (this.#sink) return;
    const { id, manifest, kind } = this.start;
    const sink = sinkFor({ ...this.start, name: id }, page);
    const { progress } = this.#record;
    this.#whole = new Whole(manifest, this.total, sink.seeks);
    this.#sink = sink;
    const there = (await sink.open(this.#whole.length)) && kind === "staged";
    const from = there && progress ? progress : null;
    if (from) this.#whole.goOn(from.record, from.crcs);
    this.#message = from ? await Message.create(this.start.keys.content, /** @type {any} */ (from.salt)) : null;
    this.#next = from?.record ?? 0;
    this.#back();
    this.#received = this.#noted = this.#whole.offset;
  }

  /** What was taken beyond the last verified record is fetched again. */
  #back() {
    this.#flight = [];
    if (this.#next === 0) this.#message = null;
    this.#at = this.#next === 0 ? 0 : HEADER + this.#next * RECORD;
  }

  async #receive() {
    this.#back();
    this.#window = FIRST;
    const backoff = new Backoff();
    /** Where it went wrong last: the record that did not verify, and the offset after which nothing came. */
    let [faulty, ended] = [-1, -1];
    let [barren, spent] = [0, 0];
    for (;;) {
      if (this.#paused) await this.#wait();
      this.#attempt = new AbortController();
      const signal = AbortSignal.any([this.#stop.signal, this.#attempt.signal]);
      const from = this.#at;
      this.#answered = false;
      try {
        while (this.#at < this.start.size) await this.#read(signal);
        return await this.#land(this.records);
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        if (this.#at > from) {
          backoff.reset();
          [barren, spent] = [0, 0];
        }
        if (error === PAUSED) continue;
        this.#window = AGAIN;
        if (error instanceof CorruptError) {
          // The network may have done it: once more from there.
          if (faulty === this.#next) throw error;
          faulty = this.#next;
          this.#back();
          continue;
        }
        if (error instanceof TruncatedError) {
          if (ended === this.#at) throw error;
          ended = this.#at;
          continue;
        }
        if (this.#answered && this.#at === from && ++barren === BARREN) throw new TruncatedError("nothing more comes");
        const isSpent = error instanceof api.ApiError && error.code === "budget_spent" && ++spent < SPENT;
        const milliseconds = backoff.next(isSpent ? new api.Unreachable("spent, perhaps") : error);
        this.#tell("waiting", problem(error, milliseconds));
        const fixed = isSpent || (error instanceof api.ApiError && error.retryAfter !== null);
        await sleep(milliseconds, { signal, fixed }).catch(() => this.#stop.signal.throwIfAborted());
      }
    }
  }

  /** Paused. Now and then a byte is asked for, so that the lease does not end. */
  async #wait() {
    await this.#checkpoint();
    this.#rate.reset();
    this.#tell("paused");
    const address = api.contentOf(this.start.id, this.#record.claim);
    const sign = () => void fetch(address, { headers: { range: "bytes=0-0" }, cache: "no-store" }).catch(() => {});
    const timer = setInterval(sign, SIGN);
    const late = setTimeout(() => clearInterval(timer), PAUSE);
    await new Promise((resolve) => {
      if (this.#paused) this.#paused = () => resolve(undefined);
      else resolve(undefined);
    });
    clearInterval(timer);
    clearTimeout(late);
    this.#stop.signal.throwIfAborted();
  }

  /**
   * Reads what comes next of the content, over one connection.
   *
   * @param {AbortSignal} signal
   */
  async #read(signal) {
    const { size, id } = this.start;
    const connection = new AbortController();
    const dog = new Watchdog(() => connection.abort());
    /** @template T @param {Promise<T>} answer */
    const reached = (answer) =>
      answer.catch((cause) => {
        signal.throwIfAborted();
        throw new api.Unreachable("broke off", { cause });
      });
    try {
      const from = this.#at;
      const until = Math.min(size, from + this.#window);
      const answer = await reached(
        fetch(api.contentOf(id, this.#record.claim), {
          headers: { range: `bytes=${from}-${until === size ? "" : until - 1}` },
          cache: "no-store",
          signal: AbortSignal.any([signal, connection.signal]),
        }),
      );
      if (!answer.ok) throw await api.refusal(answer);
      checkRange(answer, from, size);
      this.#answered = true;
      this.#tell("receiving");
      for await (const bytes of pieces(answer, reached, dog)) await this.#take(bytes, until);
      if (this.#at < until) throw new TruncatedError(`ends at ${this.#at} of ${until}`);
      this.#window *= 2;
    } finally {
      dog.stop();
      connection.abort();
      // What came whole is not fetched again.
      await this.#land(this.#next + this.#flight.length);
    }
  }

  /**
   * Puts records together, and unseals each that is whole but the last: that one waits for the end of the stream.
   *
   * @param {Uint8Array<ArrayBuffer>} bytes
   * @param {number} until where what was asked for ends
   */
  async #take(bytes, until) {
    const { size, keys } = this.start;
    while (bytes.length > 0) {
      if (this.#at === until) throw new CorruptError("something follows the end");
      const index = Math.floor((this.#at - HEADER) / RECORD);
      const start = index < 0 ? 0 : HEADER + index * RECORD;
      const length = index < 0 ? HEADER : Math.min(RECORD, size - start);
      const held = this.#at - start;
      const taken = bytes.subarray(0, length - held);
      bytes = bytes.subarray(taken.length);
      const whole = taken.length === length && index < this.records - 1;
      if (!whole) this.#room.set(taken, held);
      this.#at += taken.length;
      if (held + taken.length < length) return;
      const unit = whole ? taken : this.#room.subarray(0, length);
      if (index < 0) this.#message = await Message.create(keys.content, Message.readHeader(unit).salt);
      else if (index < this.records - 1) await this.#unseal(index, unit);
    }
  }

  /** @param {number} index @param {Uint8Array<ArrayBuffer>} sealed read before this returns its promise */
  #unseal(index, sealed) {
    const message = /** @type {Message} */ (this.#message);
    const plain = message.unseal(index, sealed, index === this.records - 1);
    plain.catch(() => {});
    this.#flight.push(plain);
    if (this.#flight.length >= WIDTH) return this.#land(this.#next + 1);
  }

  /**
   * Verifies and writes, in order.
   *
   * @param {number} until the record before which it ends
   */
  async #land(until) {
    if (until === this.records && this.#next + this.#flight.length < until) {
      await this.#unseal(this.records - 1, this.#room.subarray(0, this.start.size - HEADER - (this.records - 1) * RECORD));
    }
    while (this.#next < until) {
      try {
        const plain = await /** @type {Promise<Uint8Array<ArrayBuffer>>} */ (this.#flight.shift());
        const { at, bytes } = this.#whole.place(plain);
        const writing = this.#sink?.write(at, bytes);
        if (writing) await writing;
      } catch (error) {
        this.#flight = [];
        throw error;
      }
      this.#next += 1;
      this.#received = this.#whole.offset;
      if (this.#received - this.#noted >= NOTED) await this.#checkpoint();
      if (performance.now() - this.#told >= BEAT && this.#phase === "receiving") this.#tell("receiving");
    }
  }

  /** Notes how far it is, once that is on disk. Its last step goes on by itself. */
  async #checkpoint() {
    await this.#noting;
    if (!this.#sink?.lasts || !this.#message || this.#received === this.#noted) return;
    const progress = { salt: this.#message.salt, record: this.#next, crcs: [...this.#whole.crcs] };
    this.#noted = this.#received;
    await this.#sink.flush();
    this.#noting = this.#note({ progress, leaseExpiresAt: soon() });
    this.#noting.catch(() => {});
  }

  /** Everything is there: it becomes one whole file. */
  async #arrive() {
    const sink = /** @type {import("./sinks.js").Sink} */ (this.#sink);
    for (const { at, bytes } of this.#whole.rest()) await sink.write(at, bytes);
    await this.#noting;
    await sink.flush();
    const blob = await sink.finish();
    this.#sink = null;
    if (blob) post({ blob });
    await this.#note({ state: "arrived", progress: undefined });
  }

  async #finish() {
    this.#received = this.total;
    this.#tell("arrived");
    const { id } = this.start;
    if (this.#record.state !== "finished") {
      await new Backoff().insist(() => finished(id, this.#record.claim), {
        signal: this.#stop.signal,
        waits: (error, milliseconds) => this.#tell("arrived", problem(error, milliseconds)),
      });
      await this.#note({ state: "finished", finishedAt: Date.now() });
    }
    this.#tell("finished");
  }

  /** @param {any} error */
  async #failed(error) {
    // What is written stays written, unless writing is what failed.
    const sound = error === STOPPED || [CorruptError, TruncatedError, api.ApiError].some((kind) => error instanceof kind);
    if (sound) await this.#checkpoint().catch(() => {});
    await this.#noting.catch(() => {});
    const sink = this.#sink;
    // Nothing was granted, or nothing is any more.
    const gone =
      error instanceof api.ApiError && !error.foreign && (error.status === 410 || this.#record?.state === "asked");
    if (!sound || gone || !sink?.keeps) this.#sink = null;
    if (gone) {
      await sink?.remove();
      await remember.forget("claims", this.start.id);
    } else if (!this.#sink) {
      await sink?.release();
    }
    if (error !== STOPPED) this.#tell("failed", problem(error));
  }

  /**
   * @param {string} phase
   * @param {object} [problem]
   */
  #tell(phase, problem) {
    this.#phase = phase;
    this.#told = performance.now();
    const rate = phase === "receiving" ? this.#rate.see(this.#received) : 0;
    const left = phase === "receiving" ? secondsLeft(this.total - this.#received, rate) : null;
    post({ state: { phase, received: this.#received, total: this.total, rate, secondsLeft: left, problem } });
  }
}

/**
 * @param {string} name
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} work
 */
async function locked(name, signal, work) {
  if (!navigator.locks) return work();
  let held = false;
  const waiting = AbortSignal.any([signal, AbortSignal.timeout(LOCKED)]);
  try {
    await navigator.locks.request(name, { signal: waiting }, () => {
      held = true;
      return work();
    });
  } catch (error) {
    signal.throwIfAborted();
    throw held ? error : new TakenElsewhere("another tab is at it", { cause: error });
  }
}

/**
 * What comes, piece by piece. A piece is good until the next is asked for.
 *
 * @param {Response} answer
 * @param {<T>(read: Promise<T>) => Promise<T>} reached
 * @param {Watchdog} dog watches while it waits
 */
async function* pieces(answer, reached, dog) {
  const body = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (answer.body);
  const read = intoOneBuffer(body) ?? asTheyCome(body);
  for (;;) {
    dog.feed();
    const { value, done } = await reached(read());
    dog.feed(NEVER);
    if (done) return;
    yield value;
  }
}

/**
 * The quickest way to read: nothing is allocated.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {(() => Promise<{ done: false, value: Uint8Array<ArrayBuffer> } | { done: true, value: any }>) | null}
 */
function intoOneBuffer(body) {
  /** @type {any} */
  let reader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    return null;
  }
  let buffer = new ArrayBuffer(BUFFER);
  return async () => {
    const result = await reader.read(new Uint8Array(buffer));
    if (result.value) buffer = result.value.buffer;
    return result;
  };
}

/** @param {ReadableStream<Uint8Array<ArrayBuffer>>} body */
function asTheyCome(body) {
  const reader = body.getReader();
  return () => reader.read();
}

/**
 * @param {Response} answer
 * @param {number} from where it should begin
 * @param {number} size of the whole
 */
function checkRange(answer, from, size) {
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers.get("content-range") ?? "");
  // A portal's page, for instance.
  if (answer.status !== 206 || !range) throw new api.Unreachable("an answer of somebody else");
  const [start, total] = [Number(range[1]), Number(range[2])];
  if (total < size) throw new TruncatedError(`${total} of ${size} bytes`);
  if (start !== from || total > size) throw new CorruptError("other bytes than were asked for");
}

/**
 * Finishes a claim. That it has ended already is as good.
 *
 * @param {string} id
 * @param {string} claim
 */
async function finished(id, claim) {
  try {
    await api.finish(id, claim);
  } catch (error) {
    if (!hasEnded(error)) throw error;
  }
}

/** @param {unknown} error */
const hasEnded = (error) => error instanceof api.ApiError && !error.foreign && [404, 410].includes(error.status);

/**
 * What the page says of a failure.
 *
 * @param {any} error
 * @param {number} [milliseconds] until it tries again
 */
function problem(error, milliseconds) {
  const code = wordOf(error);
  if (code === "internal") console.error(error);
  const retryIn = milliseconds === undefined ? undefined : Math.ceil(milliseconds / 1000);
  return { code, retryIn, reason: error?.reason, at: error?.at };
}

/** @param {any} error */
function wordOf(error) {
  if (error?.name === "QuotaExceededError") return "no_room";
  // Its file is open in another tab.
  if (error?.name === "NoModificationAllowedError") return "taken_elsewhere";
  return codeOf(error);
}

const post = (/** @type {object} */ message) => postMessage(message);
const page = {
  offer: (/** @type {number} */ length) => post({ offer: length }),
  go: () => post({ go: true }),
  poke: () => post({ poke: true }),
};

/** @type {Job} */
let job;

self.onmessage = async ({ data }) => {
  if (data.start) {
    job = new Job(data.start);
    job.run();
  } else if (data.retry) {
    job.start = data.retry;
    job.run();
  } else if (data.pause) job.pause();
  else if (data.resume) job.resume();
  else if (data.wake) wake();
  else if (data.stop) {
    await job?.stop();
    post({ stopped: true });
  }
};
