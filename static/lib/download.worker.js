// The worker's side of a download: claims, lets the content come, writes it, remembers how far it is, finishes the claim.

import { either } from "./abort.js";
import { ApiError, claim, contentOf, finish, hasEnded } from "./api.js";
import { Content, TruncatedError } from "./content.js";
import { Backoff, Rate, codeOf, secondsLeft, suspect, wake } from "./network.js";
import * as remember from "./remember.js";
import { CorruptError, PLAIN, encode, plainLength, randomToken } from "./seal.js";
import { sinkFor } from "./sinks.js";
import { Whole } from "./whole.js";

/** Plain bytes between two notes: what a reload fetches again at most. */
const NOTED = 16 * 2 ** 20;
/** Milliseconds between two states that differ in numbers only. */
const BEAT = 100;
/** A second tab gives up after so long; a page that was reloaded has ended by then. Milliseconds. */
const LOCKED = 2000;
/** So often does a paused download show that it goes on, for so long: else its lease would end. Milliseconds. */
const SIGN = 4 * 60_000;
const PAUSE = 24 * 3600_000;

/** So many milliseconds from now. */
const later = (/** @type {number} */ milliseconds) => Date.now() + milliseconds;

/** Another tab of this browser is at it. */
class TakenElsewhere extends Error {
  code = "taken_elsewhere";
}

/** Another tab of this browser has it, in a place of its own. */
class TakenHere extends Error {
  code = "taken_here";
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
 *
 * @typedef {import("./remember.js").ClaimRecord} ClaimRecord
 * @typedef {{ code: string, retryIn?: number, reason?: string, at?: string }} Problem
 * @typedef {{ sink: import("./sinks.js").Sink, whole: Whole, content: Content }} Transfer where the content comes from and goes
 */

class Job {
  /** What is known of the claim, where this browser can't remember it. @type {ClaimRecord | undefined} */
  #record;
  #stop = new AbortController();
  #attempt = new AbortController();
  /** Where the content is, once the claim is granted. @type {string | null} */
  #granted = null;
  /** @type {{ ends: Promise<void>, end: () => void } | null} */
  #pause = null;
  #running = Promise.resolve();
  #runs = false;
  /** Whether everything came by this job. */
  #has = false;
  /** @type {Transfer | null} */
  #transfer = null;
  /** Plain bytes verified and written, and those of them that are noted. */
  #received = 0;
  #noted = 0;
  /** @type {Promise<unknown>} */
  #noting = Promise.resolve();
  #phase = "claiming";
  #rate = new Rate();
  #toldAt = 0;

  /** @param {Start} start */
  constructor(start) {
    this.start = start;
    this.total = plainLength(start.size) ?? 0;
  }

  /** Goes on until it is finished, or can't; told twice, once. @param {Start} start */
  run(start) {
    if (this.#runs) return;
    this.#runs = true;
    this.start = start;
    this.#stop = new AbortController();
    const work = locked(`receive:${this.start.id}`, this.#stop.signal, () => this.#work());
    this.#running = work.catch((error) => this.#failed(error)).finally(() => (this.#runs = false));
  }

  pause() {
    if (this.#pause || !["claiming", "receiving", "waiting"].includes(this.#phase)) return;
    let end = () => {};
    /** @type {Promise<void>} */
    const ends = new Promise((resolve) => (end = resolve));
    this.#pause = { ends, end };
    this.#attempt.abort(PAUSED);
  }

  resume() {
    this.#pause?.end();
    this.#pause = null;
  }

  /** Ends what is under way, and keeps the claim and what is noted. */
  async stop() {
    this.#stop.abort(STOPPED);
    this.resume();
    await this.#running;
  }

  async #work() {
    let record = (await this.#known()) ?? (await this.#ask());
    if (record.state === "asked" || record.state === "granted") {
      // The browser's own download begins with the first byte: not before there is one to come.
      const late = this.start.kind === "stream";
      if (!late) await this.#open(record);
      if (record.state === "asked") record = await this.#claim(record);
      this.#granted = contentOf(record.id, record.claim);
      const staged = this.start.kind === "staged" ? record.id : undefined;
      if (record.staged !== staged) record = await this.#keep({ ...record, staged });
      const transfer = await this.#open(record);
      await this.#pausable((signal) => transfer.content.receive(signal, this.#told()));
      record = await this.#arrive(transfer, record);
    } else if (!this.#has && !record.staged) {
      throw new TakenHere("another tab has it");
    }
    await this.#finish(record);
  }

  async #known() {
    return (await remember.get("claims", this.start.id).catch(() => undefined)) ?? this.#record;
  }

  /**
   * Remembers the claim. Only what is staged needs that: anything else would be lost with this page.
   *
   * @param {ClaimRecord} record
   */
  async #keep(record) {
    this.#record = record;
    await remember.put("claims", record).catch((error) => {
      if (this.start.kind === "staged") throw error;
    });
    return record;
  }

  /**
   * The token is remembered before the server hears of it: whatever breaks now, it is the same claim.
   *
   * @returns {Promise<ClaimRecord>}
   */
  async #ask() {
    const { id, secret, keys, manifest, size } = this.start;
    const claim = encode(randomToken());
    return this.#keep({ id, claim, secret, keys, manifest, size, state: "asked", lease: 0, leaseExpiresAt: later(0) });
  }

  /** @param {ClaimRecord} record */
  async #claim(record) {
    const { id, keys, size } = this.start;
    const proof = encode(keys.proof);
    const grant = await this.#pausable((signal) => {
      this.#tell("claiming");
      return new Backoff().insist(() => claim(id, proof, record.claim, signal), { signal, waits: this.#told().waits });
    });
    if (grant.size !== size) throw new CorruptError("another size than the share's");
    // Whoever sees that it waits may ask before the page is left, which a stream would be.
    if (this.#phase === "waiting") this.#tell("claiming");
    const { leaseExpiresAt } = grant;
    return this.#keep({ ...record, state: "granted", lease: leaseExpiresAt - Date.now(), leaseExpiresAt });
  }

  /**
   * Opens where the bytes go, and finds what is there already.
   *
   * @param {ClaimRecord} record
   */
  async #open(record) {
    if (this.#transfer) return this.#transfer;
    const { claim, progress } = record;
    const { id, keys, size, manifest } = this.start;
    const sink = sinkFor({ ...this.start, name: id }, page);
    const whole = new Whole(manifest, this.total, sink.seeks);
    const content = new Content(contentOf(id, claim), size, keys.content, (plain) => this.#land(plain));
    const there = await sink.open(whole.length);
    // The file that it speaks of is gone: it is not true of the next one.
    if (progress && !there) await this.#keep({ ...record, progress: undefined });
    if (there && progress) {
      whole.goOn(progress.record, progress.crcs);
      await content.begin(progress.record, progress.salt);
    }
    this.#received = this.#noted = whole.offset;
    return (this.#transfer = { sink, whole, content });
  }

  /** What the page learns of while something is asked for. */
  #told() {
    return {
      begins: () => this.#tell("receiving"),
      waits: (/** @type {unknown} */ error, /** @type {number} */ milliseconds) => this.#tell("waiting", problem(error, milliseconds)),
    };
  }

  /**
   * Does what may be paused, and is begun again then.
   *
   * @template T
   * @param {(signal: AbortSignal) => Promise<T>} act
   */
  async #pausable(act) {
    for (;;) {
      if (this.#pause) await this.#wait(this.#pause.ends);
      this.#attempt = new AbortController();
      try {
        return await act(either(this.#stop.signal, this.#attempt.signal));
      } catch (error) {
        if (error !== PAUSED) throw error;
      }
    }
  }

  /**
   * Paused. Now and then a byte is asked for, so that the lease does not end.
   *
   * @param {Promise<void>} ends
   */
  async #wait(ends) {
    await this.#checkpoint();
    this.#rate.reset();
    this.#tell("paused");
    const until = performance.now() + PAUSE;
    const often = Math.min(SIGN, (this.#record?.lease || SIGN) / 3);
    const timer = setInterval(() => {
      if (!this.#granted || performance.now() > until) return;
      fetch(this.#granted, { headers: { range: "bytes=0-0" }, cache: "no-store" }).catch(() => {});
    }, often);
    await ends;
    clearInterval(timer);
    this.#stop.signal.throwIfAborted();
  }

  /**
   * Writes what was verified.
   *
   * @param {Uint8Array<ArrayBuffer>} plain
   */
  #land(plain) {
    const { whole, sink } = /** @type {Transfer} */ (this.#transfer);
    const { at, bytes } = whole.place(plain);
    const writing = sink.write(at, bytes);
    return writing ? writing.then(() => this.#landed(whole.offset)) : this.#landed(whole.offset);
  }

  /** @param {number} offset */
  #landed(offset) {
    this.#received = offset;
    if (this.#phase === "receiving" && performance.now() - this.#toldAt >= BEAT) this.#tell("receiving");
    return this.#received - this.#noted >= NOTED ? this.#checkpoint() : undefined;
  }

  /** Notes how far it is, once that is on disk. The note itself is waited for by the next. */
  async #checkpoint() {
    await this.#noting;
    const { sink, whole, content } = this.#transfer ?? {};
    const salt = content?.salt;
    // The last record has no beginning to go on from.
    if (!sink?.lasts || !whole || !salt || whole.offset === this.#noted || whole.offset === this.total) return;
    const progress = { salt, record: Math.floor(whole.offset / PLAIN), crcs: [...whole.crcs] };
    this.#noted = whole.offset;
    await sink.flush();
    this.#noting = this.#note(progress);
    this.#noting.catch(() => {});
  }

  /** @param {ClaimRecord["progress"]} progress */
  async #note(progress) {
    const record = await this.#known();
    if (record) await this.#keep({ ...record, progress, leaseExpiresAt: later(record.lease) });
  }

  /**
   * Everything came: it becomes one whole file.
   *
   * @param {Transfer} transfer
   * @param {ClaimRecord} record
   */
  async #arrive({ sink, whole }, record) {
    for (const { at, bytes } of whole.rest()) await sink.write(at, bytes);
    await this.#noting;
    await sink.flush();
    const blob = await sink.finish();
    this.#transfer = null;
    this.#has = true;
    if (blob) post({ blob });
    return this.#keep({ ...record, state: "arrived", progress: undefined, leaseExpiresAt: later(record.lease) });
  }

  /** @param {ClaimRecord} record */
  async #finish(record) {
    this.#received = this.total;
    this.#tell("arrived");
    if (record.state !== "finished") {
      const waits = (/** @type {unknown} */ error, /** @type {number} */ milliseconds) =>
        this.#tell("arrived", problem(error, milliseconds));
      try {
        await new Backoff().insist(() => finish(record.id, record.claim), { signal: this.#stop.signal, waits });
      } catch (error) {
        // Nothing that the file lacks: a later visit tells the server.
        if (error !== STOPPED) this.#tell("arrived", problem(error));
        return;
      }
      await this.#keep({ ...record, state: "finished", finishedAt: Date.now() });
    }
    this.#tell("finished");
  }

  /** @param {unknown} error */
  async #failed(error) {
    // What is written stays written, unless writing is what failed.
    const sound = error === STOPPED || [CorruptError, TruncatedError, ApiError].some((kind) => error instanceof kind);
    if (sound) await this.#checkpoint().catch(() => {});
    await this.#noting.catch(() => {});
    const over = hasEnded(error);
    const sink = this.#transfer?.sink;
    if (!sound || over || !sink?.keeps) this.#transfer = null;
    if (over) {
      this.#record = undefined;
      await remember.forget("claims", this.start.id).catch(() => {});
    }
    if (over) await sink?.remove();
    else if (!this.#transfer) await sink?.release();
    if (error !== STOPPED) this.#tell("failed", problem(error));
  }

  /**
   * @param {string} phase
   * @param {Problem} [problem]
   */
  #tell(phase, problem) {
    this.#phase = phase;
    this.#toldAt = performance.now();
    const { total } = this;
    const received = this.#received;
    const rate = phase === "receiving" ? this.#rate.see(received) : 0;
    const left = phase === "receiving" ? secondsLeft(total - received, rate) : null;
    post({ state: { phase, received, total, rate, secondsLeft: left, problem } });
  }
}

/**
 * Runs `work` while no other tab of this browser runs any under this name, as far as the browser has locks for that.
 *
 * @param {string} name
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} work
 */
async function locked(name, signal, work) {
  if (!navigator.locks) return work();
  let held = false;
  try {
    await navigator.locks.request(name, { signal: either(signal, AbortSignal.timeout(LOCKED)) }, () => {
      held = true;
      return work();
    });
  } catch (error) {
    if (held) throw error;
    signal.throwIfAborted();
    if (!isTimeout(error)) return work();
    throw new TakenElsewhere("another tab is at it", { cause: error });
  }
}

/** @param {unknown} error */
const isTimeout = (error) => error instanceof DOMException && error.name === "TimeoutError";

/**
 * What the page says of a failure.
 *
 * @param {any} error
 * @param {number} [milliseconds] until it tries again
 * @returns {Problem}
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
    job ??= new Job(data.start);
    job.run(data.start);
  } else if (data.pause) job.pause();
  else if (data.resume) job.resume();
  else if (data.wake) data.changed ? suspect() : wake();
  else if (data.stop) {
    await job?.stop();
    post({ stopped: true });
  }
};
