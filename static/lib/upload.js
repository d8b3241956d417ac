// The page's side of an upload: begins it, steers it, finds those that are not done. upload.worker.js does the work.

import { Unreachable } from "./api.js";
import { Backoff, codeOf, onWake } from "./network.js";
import * as remember from "./remember.js";
import { script } from "./trusted.js";

/** @typedef {import("./remember.js").UploadRecord} UploadRecord */

/**
 * A file to send.
 *
 * @typedef {object} Source
 * @property {Blob} file
 * @property {string} name relative folders are kept, with `/`
 * @property {string} type media type; empty where it is unknown
 * @property {boolean} fromDisk whether it can be chosen again
 * @property {FileSystemFileHandle} [handle]
 */

/** @typedef {Source & { size: number, lastModified: number }} Stamped with what tells that it changed; 0: no time */

/**
 * How an upload goes.
 *
 * `waiting`: it goes on by itself, as soon as it can. `failed` is final: nothing of it remains, unless another tab
 * has it or an unfinished one lacks its files.
 *
 * @typedef {object} UploadState
 * @property {"preparing" | "sending" | "waiting" | "paused" | "done" | "failed" | "cancelled"} phase
 * @property {number} sent plain bytes
 * @property {number} total plain bytes
 * @property {number} rate bytes a second
 * @property {number | null} secondsLeft null: can't be said
 * @property {{ code: string, retryIn?: number, name?: string }} [problem] with `waiting` and `failed`: an API's code,
 *   `offline`, `unreachable`, `changed` (a file changed or can't be read any more), `unreadable`, `too_many_names`,
 *   `needs_password` (it has to begin anew, and the password was not kept), `elsewhere` (another tab has it); seconds
 *   until the next try; the file's name
 * @property {import("./remember.js").ShareRecord} [share] with `done`
 */

/** @typedef {(state: UploadState) => void} Told called at most about ten times a second */

/** Times that the worker's script is asked for. */
const TRIES = 5;
/** More handles take longer to keep than their files to choose again. */
const HANDLES = 100;
const OVER = ["done", "failed", "cancelled"];

/** One upload under way. */
export class Upload {
  /** What is said before there is a worker to hear it. @type {object[] | null} */
  #unsaid = [];
  /** @type {Worker | null} */
  #worker = null;
  #told;
  #unhear;
  #stop = new AbortController();
  #ended = false;
  /** @type {() => void} */
  #end = () => {};
  /** @type {Promise<void>} */
  #over = new Promise((resolve) => (this.#end = resolve));

  /**
   * Use `send` or `goOn`.
   *
   * @param {Promise<object>} order
   * @param {number} total
   * @param {Told} told
   */
  constructor(order, total, told) {
    this.#told = told;
    this.#unhear = onWake((changed) => this.#say({ do: "wake", changed }));
    this.#begin(order, total);
  }

  pause() {
    this.#say({ do: "pause" });
  }

  resume() {
    this.#say({ do: "resume" });
  }

  /** The network may be back. */
  wake() {
    this.#say({ do: "wake", changed: false });
  }

  /**
   * Ends it, here and on the server. Resolves when it is over, however it ended.
   *
   * @returns {Promise<void>}
   */
  cancel() {
    this.#stop.abort();
    this.#say({ do: "cancel" });
    return this.#over;
  }

  /**
   * @param {Promise<object>} order
   * @param {number} total
   */
  async #begin(order, total) {
    const still = { sent: 0, total, rate: 0, secondsLeft: null };
    this.#hear({ phase: "preparing", ...still });
    try {
      const backoff = new Backoff();
      const worker = await backoff.insist(() => started((state) => this.#hear(state)), {
        signal: this.#stop.signal,
        waits: (error, milliseconds) => {
          if (backoff.failures > TRIES) throw error;
          const problem = { code: codeOf(error), retryIn: Math.ceil(milliseconds / 1000) };
          this.#hear({ phase: "waiting", ...still, problem });
        },
      });
      worker.onerror = () => this.#hear({ phase: "failed", ...still, problem: { code: "internal" } });
      worker.postMessage(await order);
      this.#worker = worker;
      for (const word of this.#unsaid ?? []) worker.postMessage(word);
    } catch (error) {
      if (this.#stop.signal.aborted) this.#hear({ phase: "cancelled", ...still });
      else this.#hear({ phase: "failed", ...still, problem: { code: codeOf(error) } });
    }
    this.#unsaid = null;
  }

  /** @param {object} word */
  #say(word) {
    if (this.#unsaid) this.#unsaid.push(word);
    else this.#worker?.postMessage(word);
  }

  /** @param {UploadState} state */
  #hear(state) {
    if (this.#ended) return;
    this.#ended = OVER.includes(state.phase);
    this.#told(state);
    if (!this.#ended) return;
    this.#unhear();
    this.#end();
  }
}

/**
 * A worker that has begun to listen.
 *
 * @param {(state: UploadState) => void} hear
 * @returns {Promise<Worker>}
 */
function started(hear) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(script(new URL("./upload.worker.js", import.meta.url)), { type: "module" });
    worker.onmessage = ({ data }) => (data === "ready" ? resolve(worker) : hear(data));
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Unreachable("the worker did not start"));
    };
  });
}

/**
 * Seals and sends.
 *
 * `done` carries the share, which is remembered by then.
 *
 * @param {object} order
 * @param {Source[]} order.sources
 * @param {string} [order.text] a text instead of files
 * @param {string} [order.note]
 * @param {string} [order.password]
 * @param {number} order.expiresIn seconds
 * @param {number} order.downloads
 * @param {number} order.part bytes of one request, as the server suggests
 * @param {Told} told
 */
export function send({ sources, text, ...rest }, told) {
  const files = sources.length > HANDLES ? sources.map(({ handle, ...rest }) => rest) : sources;
  const chosen = (text === undefined ? files : [ofText(text)]).map(stamped);
  const order = { ...rest, sources: chosen, text: text !== undefined };
  const total = chosen.reduce((sum, { size }) => sum + size, 0);
  return new Upload(Promise.resolve({ do: "send", order }), total, told);
}

/**
 * @param {string} text
 * @returns {Source}
 */
function ofText(text) {
  const type = "text/plain; charset=utf-8";
  return { file: new Blob([text], { type }), name: "text.txt", type, fromDisk: false };
}

/**
 * Browsers may look at the disk each time they are asked; what counts is what was chosen.
 *
 * @param {Source} source
 * @returns {Stamped}
 */
const stamped = (source) => {
  const { file } = source;
  return { ...source, size: file.size, lastModified: file instanceof File ? file.lastModified : 0 };
};

/**
 * Goes on with an upload of an earlier visit, or begins it anew under a new secret where that can't be done safely.
 *
 * @param {UploadRecord} record
 * @param {Source[] | null} sources in the record's order; null where `record.kept` and `record.handles` have them, and may be read
 * @param {Told} told
 */
export function goOn(record, sources, told) {
  const order = async () => {
    const found = sources ?? (await reopened(record));
    return { do: "goOn", record, sources: found?.map(stamped) ?? null };
  };
  const total = record.manifest.files.reduce((sum, { size }) => sum + Number(size), 0);
  return new Upload(order(), total, told);
}

/**
 * The files that this browser can open by itself; null where one is missing.
 *
 * @param {UploadRecord} record
 * @returns {Promise<Source[] | null>}
 */
async function reopened({ manifest, kept, handles }) {
  const sources = [];
  for (const [index, { name, type = "" }] of manifest.files.entries()) {
    const handle = handles[index];
    const file = kept[index] ?? (await handle?.getFile().catch(() => null));
    if (!file) return null;
    sources.push({ file, name, type, fromDisk: !kept[index], handle: handle ?? undefined });
  }
  return sources;
}

/**
 * The uploads that can go on, and that no other tab runs. Forgets those that can't.
 *
 * @param {() => void} [released] called when another tab has let go of one that it ran
 * @returns {Promise<UploadRecord[]>}
 */
export async function unfinished(released) {
  try {
    // Another tab notes an upload before its parts, and its share before it forgets it.
    const parts = await remember.all("parts");
    const records = await remember.all("uploads");
    const shares = await remember.all("shares");
    const done = new Set(shares.map(({ id }) => id));
    // What an older page wrote may lack the time: it stays.
    const alive = records.filter(({ id, expiresAt }) => !(expiresAt <= Date.now()) && !done.has(id));
    const known = new Set(alive.map(({ id }) => id));
    const dead = [...records, ...parts].filter(({ id }) => !known.has(id));
    await Promise.all(dead.map(({ id }) => remember.forgetUpload(id)));
    const idle = await Promise.all(alive.map(({ id }) => isIdle(id)));
    if (released) alive.forEach(({ id }, index) => idle[index] || heed(id, released));
    return alive.filter((_, index) => idle[index]);
  } catch {
    // A browser that remembers nothing has nothing to go on with.
    return [];
  }
}

/** Uploads of other tabs whose end is waited for. @type {Set<string>} */
const heeded = new Set();

/**
 * @param {string} id
 * @param {() => void} released
 */
async function heed(id, released) {
  if (heeded.has(id)) return;
  heeded.add(id);
  await navigator.locks.request(`upload:${id}`, () => {});
  heeded.delete(id);
  released();
}

/** @param {string} id */
async function isIdle(id) {
  if (!navigator.locks) return true;
  try {
    // A page that was just loaded again still holds it for a moment.
    await navigator.locks.request(`upload:${id}`, { signal: AbortSignal.timeout(1000) }, () => {});
    return true;
  } catch {
    return false;
  }
}

/**
 * Finds the files of an unfinished upload among those that were chosen again.
 *
 * @param {UploadRecord} record
 * @param {Source[]} sources
 * @returns {Source[] | null} in the record's order; null where one is missing or is not what it was
 */
export function matches({ manifest, kept, stamps }, sources) {
  const left = [...sources];
  const found = [];
  for (const [index, { name, type = "" }] of manifest.files.entries()) {
    const own = kept[index];
    if (own) {
      found.push({ file: own, name, type, fromDisk: false });
      continue;
    }
    const { size, lastModified } = stamps[index];
    const at = left.findIndex(
      (source) =>
        source.name === name &&
        source.file.size === size &&
        source.file instanceof File &&
        source.file.lastModified === lastModified,
    );
    if (at < 0) return null;
    found.push(...left.splice(at, 1));
  }
  return found;
}
