// What keeps a transfer going on a bad network: which failures pass, when to try again, when a silent connection is
// dead, how fast it goes. Runs in pages and in workers; each has its own copy.

import { ApiError, Unreachable } from "./api.js";

/** Milliseconds before the first further try; each next one waits twice as long, up to the longest. */
const SHORTEST = 1000;
const LONGEST = 30_000;
/** So long may no byte move, in milliseconds, before a connection counts as dead. */
export const STALL = 30_000;
/** The same once the network changed: what is still alive shows it soon. */
const SUSPECT = 10_000;
/** What fails again and again does not recover by being asked: a defect, or a proxy that refuses. Two minutes or so. */
export const TRIES = 8;

/** @type {Set<(changed: boolean) => void>} */
const sleepers = new Set();

/**
 * Calls `heard` whenever the network may be back.
 *
 * @param {(changed: boolean) => void} heard `changed`: connections from before may be dead
 * @returns {() => void} ends that
 */
export function onWake(heard) {
  const own = (/** @type {boolean} */ changed) => heard(changed);
  sleepers.add(own);
  return () => void sleepers.delete(own);
}

/** The network may be back: whoever waits tries at once. */
export function wake() {
  hear(false);
}

/** The network is another one: as `wake`, and a connection that moves nothing has little time left. */
export function suspect() {
  hear(true);
}

/** @param {boolean} changed */
function hear(changed) {
  for (const heard of [...sleepers]) heard(changed);
}

// A worker learns of the network only in some browsers, and of sleep in none: its page passes these on.
globalThis.addEventListener?.("online", suspect);
const page = /** @type {{ document?: any }} */ (globalThis).document;
page?.addEventListener("resume", suspect);
page?.addEventListener("visibilitychange", () => page.visibilityState === "visible" && wake());

/**
 * Whether the same request may succeed later.
 *
 * @param {unknown} error
 * @param {number} [failures] how many times in a row it failed before
 */
export function passes(error, failures = 0) {
  if (error instanceof Unreachable) return true;
  if (!(error instanceof ApiError)) return false;
  const { status } = error;
  if (status === 429) return error.foreign || error.retryAfter !== null;
  if ([408, 423, 425].includes(status)) return true;
  if (status > 501 && ![505, 507, 511].includes(status)) return true;
  return (status === 500 || error.foreign) && failures < TRIES;
}

/**
 * The word for a failure: an API code, `offline`, or `unreachable`.
 *
 * @param {unknown} error
 */
export function codeOf(error) {
  if (error instanceof Unreachable) return globalThis.navigator?.onLine === false ? "offline" : "unreachable";
  if (error instanceof ApiError && error.foreign) return "unreachable";
  const code = /** @type {{ code?: unknown } | null} */ (error)?.code;
  return typeof code === "string" ? code : "internal";
}

/** When to try again: sooner at first, then ever more rarely, at moments that clients do not share. */
export class Backoff {
  /** How many times in a row it failed. */
  failures = 0;

  /** Something moved: the next failure is a first one. */
  reset() {
    this.failures = 0;
  }

  /**
   * How long to wait after `error`, in milliseconds. Throws `error` where waiting does not help.
   *
   * @param {unknown} error
   */
  next(error) {
    if (!passes(error, this.failures)) throw error;
    this.failures += 1;
    const asked = error instanceof ApiError ? error.retryAfter : null;
    if (asked !== null) return asked * 1000;
    const ceiling = Math.min(LONGEST, SHORTEST * 2 ** this.failures);
    return Math.max(SHORTEST, ceiling * (0.5 + Math.random() / 2));
  }

  /**
   * Repeats `act` until it succeeds, or fails in a way that does not pass.
   *
   * @template T
   * @param {() => Promise<T>} act
   * @param {{ signal?: AbortSignal, waits?: (error: unknown, milliseconds: number) => void }} [options] `waits` is told
   *   of each wait; an abort ends it with the signal's reason
   * @returns {Promise<T>}
   */
  async insist(act, { signal, waits } = {}) {
    for (;;) {
      try {
        const value = await act();
        this.reset();
        return value;
      } catch (error) {
        signal?.throwIfAborted();
        const milliseconds = this.next(error);
        waits?.(error, milliseconds);
        await sleep(milliseconds, { signal, fixed: error instanceof ApiError && error.retryAfter !== null });
      }
    }
  }
}

/**
 * Waits; shorter where the network may be back, unless the time is fixed.
 *
 * @param {number} milliseconds
 * @param {{ signal?: AbortSignal, fixed?: boolean }} [options]
 * @returns {Promise<void>}
 */
export function sleep(milliseconds, { signal, fixed = false } = {}) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const end = () => {
      clearTimeout(timer);
      unhear();
      signal?.removeEventListener("abort", end);
      if (signal?.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(end, milliseconds);
    const unhear = fixed ? () => {} : onWake(end);
    signal?.addEventListener("abort", end);
  });
}

/** Watches that something moves: a connection that is neither broken nor alive would hang for many minutes. */
export class Watchdog {
  #patience;
  #deadline = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #bark;
  #unhear;
  #over = false;

  /**
   * @param {() => void} bark called once, when nothing moved for too long
   * @param {number} [patience] milliseconds
   */
  constructor(bark, patience = STALL) {
    this.#bark = bark;
    this.#patience = patience;
    this.#unhear = onWake((changed) => {
      if (changed) this.#set(Math.min(this.#deadline, performance.now() + SUSPECT));
    });
    this.feed();
  }

  /**
   * Something moved.
   *
   * @param {number} [patience] how long the next thing may take, milliseconds
   */
  feed(patience = this.#patience) {
    this.#set(performance.now() + patience);
  }

  /** Nothing is waited for any more. */
  stop() {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#unhear();
  }

  /** @param {number} deadline */
  #set(deadline) {
    if (this.#over) return;
    const sooner = deadline < this.#deadline;
    this.#deadline = deadline;
    // Feeding is frequent: a timer that runs is looked at when it ends, not set anew.
    if (this.#timer !== undefined && !sooner) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (performance.now() < this.#deadline) return this.#set(this.#deadline);
      this.stop();
      this.#bark();
    }, Math.max(0, deadline - performance.now()));
  }
}

/** Milliseconds that the rate is taken over, and between what it is taken from. */
const WINDOW = 8000;
const GRAIN = 100;

/** How fast it goes, over the last seconds. */
export class Rate {
  /** @type {{ at: number, bytes: number }[]} */
  #seen = [];

  /** Forgets what was: after a pause, or where bytes have to be moved again. */
  reset() {
    this.#seen = [];
  }

  /**
   * @param {number} bytes moved so far
   * @param {number} [at] ms
   * @returns {number} bytes a second; 0 where nothing can be said yet
   */
  see(bytes, at = performance.now()) {
    const seen = this.#seen;
    if (seen.length > 0 && bytes < seen[seen.length - 1].bytes) this.reset();
    const last = this.#seen[this.#seen.length - 1];
    if (!last || at - last.at >= GRAIN) this.#seen.push({ at, bytes });
    while (this.#seen.length > 2 && at - this.#seen[1].at >= WINDOW) this.#seen.shift();
    const [first] = this.#seen;
    return at - first.at < GRAIN ? 0 : ((bytes - first.bytes) * 1000) / (at - first.at);
  }
}

/**
 * Seconds that `bytes` more take; null where that can't be said.
 *
 * @param {number} bytes
 * @param {number} rate bytes a second
 */
export const secondsLeft = (bytes, rate) => (rate > 0 ? Math.ceil(bytes / rate) : null);
