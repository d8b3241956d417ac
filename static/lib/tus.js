// Brings one upload to the server, through whatever the network does: seals ahead of what is sent, and waits, asks and
// goes on where something fails.

import { either } from "./abort.js";
import { ApiError, Unreachable, appendUpload, uploadOffset } from "./api.js";
import { Backoff, STALL, TRIES, Watchdog, codeOf, sleep } from "./network.js";
import { Anew } from "./notes.js";

/** @typedef {import("./parts.js").Part} Part */
/** @typedef {{ code: string, retryIn: number }} Problem an API's code, or one of our own; seconds until the next try */
/** @typedef {(phase: "sending" | "waiting" | "paused", sent: number, problem?: Problem) => void} Tell sent: sealed */

/** Parts that are sealed, or being sealed, while one is sent. */
const AHEAD = 1;
/** Least bytes of a request, where longer ones do not get through. */
const LEAST = 256 * 1024;
/** So long may the answer take once all bytes have left: what lies in buffers goes on moving unseen. Milliseconds. */
const ANSWER = 2 * STALL;

/** What the user decides while an upload runs. */
export class Reins {
  #interrupt = new AbortController();
  #over = new AbortController();
  #paused = false;
  #freed = () => {};

  /** Aborted while nothing may move. */
  get signal() {
    return this.#interrupt.signal;
  }

  get cancelled() {
    return this.#over.signal.aborted;
  }

  pause() {
    this.#paused = true;
    this.#interrupt.abort();
  }

  resume() {
    if (!this.#paused || this.cancelled) return;
    this.#paused = false;
    this.#interrupt = new AbortController();
    this.#freed();
  }

  cancel() {
    this.#over.abort();
    this.#interrupt.abort();
    this.#freed();
  }

  /**
   * Waits, unless it is interrupted.
   *
   * @param {number} milliseconds
   * @param {boolean} fixed whether a network that is back does not shorten it
   */
  async rest(milliseconds, fixed) {
    // What interrupts is seen to by whoever asks next whether something may move.
    await sleep(milliseconds, { signal: this.signal, fixed }).catch(() => {});
  }

  /**
   * Passes when something may move.
   *
   * @param {() => void} paused told where it may not yet
   * @throws {DOMException} AbortError where it never may again
   */
  async pass(paused) {
    while (this.#paused && !this.cancelled) {
      paused();
      await new Promise((resolve) => (this.#freed = () => resolve(undefined)));
    }
    this.#over.signal.throwIfAborted();
  }
}

/**
 * Whether the user has stopped what failed.
 *
 * @param {unknown} error
 */
const calledOff = (error) => error instanceof DOMException && error.name === "AbortError";

/** The server has other bytes than those that are at hand. */
class Moved extends Error {
  name = "Moved";
}

/** One upload under way. */
export class Sending {
  #upload;
  #parts;
  #notes;
  #reins;
  #tell;
  #backoff = new Backoff();
  /** How many bytes the server is known to have. */
  #offset = 0;
  /** Most bytes of the next request, and of any. */
  #most = Infinity;
  #ceiling = Infinity;

  /**
   * @param {{ location: string, length: number, part: number }} upload bytes of all of it, and of a part
   * @param {() => Promise<import("./parts.js").Parts>} parts makes them, the same every time
   * @param {import("./notes.js").Notes} notes
   * @param {Reins} reins
   * @param {Tell} tell called often
   */
  constructor(upload, parts, notes, reins, tell) {
    this.#upload = upload;
    this.#parts = parts;
    this.#notes = notes;
    this.#reins = reins;
    this.#tell = tell;
  }

  /**
   * Resolves when the server has everything, and the share can be claimed.
   *
   * @param {boolean} fresh whether nothing of it was ever sent
   * @throws {Anew | import("./reading.js").ChangedError | ApiError}
   */
  async run(fresh) {
    if (!fresh) this.#offset = await this.#ask();
    while (this.#offset < this.#upload.length) {
      try {
        await this.#send();
      } catch (error) {
        if (!(error instanceof Moved)) throw error;
        await this.#wait(error);
      }
    }
  }

  /** Sends what the server does not have. */
  async #send() {
    const { length, part } = this.#upload;
    let index = Math.floor(this.#offset / part);
    if ((this.#offset > 0 || this.#notes.any) && !this.#notes.has(index * part)) {
      // Nothing of this part has left, but the record that it begins in has begun to, with the part before.
      index -= 1;
      if (index < 0 || this.#offset % part !== 0 || !this.#notes.has(index * part)) throw new Anew("sent, and not noted");
    }
    const ahead = new Ahead(await this.#parts(), this.#notes, index);
    try {
      while (this.#offset < length) await this.#deliver(await ahead.next());
    } finally {
      await ahead.stop();
    }
  }

  /** @param {Part} part */
  async #deliver({ offset, body }) {
    const end = offset + body.size;
    while (this.#offset < end) {
      await this.#pass();
      const from = this.#offset;
      const piece = body.slice(from - offset, Math.min(from - offset + this.#most, body.size));
      let left = 0;
      try {
        this.#offset = await this.#append(from, piece, (sent) => (left = sent));
        this.#most = Math.min(this.#most * 2, this.#ceiling);
      } catch (error) {
        const tooLong = error instanceof ApiError && error.status === 413 && error.foreign && piece.size > LEAST;
        if (tooLong) this.#ceiling = Math.max(LEAST, piece.size / 2);
        else await this.#wait(error);
        this.#offset = await this.#ask();
        // What stands between may pass on short requests only, or only those that come whole.
        const lost = left > 0 && this.#offset === from && !calledOff(error);
        if (tooLong || lost) this.#most = Math.max(LEAST, Math.min(this.#ceiling, piece.size / 4));
      }
      if (this.#offset > from) this.#backoff.reset();
      if (this.#offset < offset || this.#offset > end) throw new Moved("the server has other bytes");
    }
  }

  /**
   * @param {number} from
   * @param {Blob} piece
   * @param {(sent: number) => void} moved
   */
  async #append(from, piece, moved) {
    const dead = new AbortController();
    const dog = new Watchdog(() => dead.abort(new Unreachable("nothing moves")));
    const signal = either(this.#reins.signal, dead.signal);
    const progress = (/** @type {number} */ sent) => {
      moved(sent);
      dog.feed(sent < piece.size ? STALL : ANSWER);
      this.#tell("sending", from + sent);
    };
    this.#tell("sending", from);
    try {
      return await appendUpload(this.#upload.location, from, piece, { signal, progress });
    } finally {
      dog.stop();
    }
  }

  /** Asks the server how many bytes it has, until it says so. */
  async #ask() {
    for (;;) {
      await this.#pass();
      try {
        return await uploadOffset(this.#upload.location, this.#reins.signal);
      } catch (error) {
        await this.#wait(error);
      }
    }
  }

  #pass() {
    return this.#reins.pass(() => this.#tell("paused", this.#offset));
  }

  /**
   * Waits until it may be tried again. Throws where that does not help.
   *
   * @param {unknown} error
   */
  async #wait(error) {
    if (calledOff(error)) return;
    let passing = error;
    if (error instanceof ApiError && !error.foreign) {
      if ([404, 410].includes(error.status)) throw new Anew("the server has lost it", { cause: error });
      // Another connection of this upload still ends, or a proxy gave ours up: its offset tells.
      const unclear = [400, 409].includes(error.status) && this.#backoff.failures < TRIES;
      if (unclear) passing = new Unreachable("unclear", { cause: error });
    }
    if (error instanceof Moved) passing = new Unreachable("moved", { cause: error });
    const milliseconds = this.#backoff.next(passing);
    this.#tell("waiting", this.#offset, { code: codeOf(passing), retryIn: Math.ceil(milliseconds / 1000) });
    await this.#reins.rest(milliseconds, error instanceof ApiError && error.retryAfter !== null);
  }
}

/** Seals and notes parts in their order, some ahead of what is asked for. */
class Ahead {
  /** @type {Promise<Part>[]} */
  #ready = [];
  /** @type {Promise<unknown>} */
  #sealing = Promise.resolve();
  #stopped = false;
  #parts;
  #notes;
  #index;

  /**
   * @param {import("./parts.js").Parts} parts
   * @param {import("./notes.js").Notes} notes
   * @param {number} index of the first
   */
  constructor(parts, notes, index) {
    this.#parts = parts;
    this.#notes = notes;
    this.#index = index;
  }

  /** The next part, once it may be sent. */
  next() {
    this.#fill(AHEAD + 1);
    return /** @type {Promise<Part>} */ (this.#ready.shift());
  }

  /** Resolves when nothing is sealed or noted any more. */
  async stop() {
    this.#stopped = true;
    await Promise.allSettled(this.#ready);
    await this.#parts.stop();
  }

  /** @param {number} count */
  #fill(count) {
    while (this.#ready.length < count && this.#index < this.#parts.count) {
      const index = this.#index++;
      const sealed = this.#sealing.then(() => {
        if (this.#stopped) throw new Anew("nobody waits for it");
        return this.#parts.seal(index);
      });
      this.#sealing = sealed;
      // The next part is sealed while this one is noted.
      const ready = sealed.then(async (part) => {
        await this.#notes.take(part);
        return part;
      });
      // A failure is told to whoever asks for this part.
      ready.catch(() => {});
      this.#ready.push(ready);
    }
  }
}
