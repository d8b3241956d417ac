// Where a download's bytes go, as its worker sees it: one class for each kind of plan.

import { stagedFolder } from "./remember.js";

/** There is no room for what comes. */
export class RoomError extends Error {
  code = "no_room";
}

/** Whoever took the bytes wants no more. */
export class NotSaved extends Error {
  code = "not_saved";
}

/**
 * `write` takes `bytes` over, buffer and all. It may return a promise: what comes next waits for it.
 *
 * @typedef {object} Sink
 * @property {boolean} lasts whether what was flushed is still there for the next page
 * @property {boolean} seeks whether bytes may be written in any order, and again
 * @property {(length: number) => Promise<boolean>} open for a file of `length` bytes; tells whether it is the one that was
 *   there before
 * @property {(at: number, bytes: Uint8Array<ArrayBuffer>) => void | Promise<void>} write
 * @property {() => void | Promise<void>} flush resolves once everything written would survive a crash
 * @property {() => Promise<Blob | null>} finish the file is whole; gives it where it is nowhere else
 * @property {boolean} keeps whether it can stay open, for what comes after a failure
 * @property {() => Promise<void>} release nothing comes for now
 * @property {() => Promise<void>} remove nothing ever comes
 */

/** A page that was reloaded may hold its file a moment longer, milliseconds. */
const HELD = 3000;

/** A file in the origin's private file system. @implements {Sink} */
class Staged {
  lasts = true;
  keeps = false;
  seeks = true;
  /** @type {any} a FileSystemSyncAccessHandle */
  #file;

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  /** @param {number} length */
  async open(length) {
    const folder = await stagedFolder();
    this.#file = await opened(await folder.getFileHandle(this.name, { create: true }));
    const there = (await this.#file.getSize()) === length;
    // At once, so that a lack of room shows before the first byte.
    if (!there) await this.#file.truncate(length);
    return there;
  }

  /** @param {number} at @param {Uint8Array<ArrayBuffer>} bytes */
  write(at, bytes) {
    if (this.#file.write(bytes, { at }) !== bytes.length) throw new RoomError("no room");
  }

  flush() {
    return this.#file.flush();
  }

  async finish() {
    await this.#file.close();
    this.#file = undefined;
    return null;
  }

  async release() {
    await this.#file?.close();
    this.#file = undefined;
  }

  async remove() {
    await this.release();
    await (await stagedFolder()).removeEntry(this.name).catch(() => {});
  }
}

/** @param {any} handle */
async function opened(handle) {
  const deadline = performance.now() + HELD;
  for (;;) {
    try {
      return await handle.createSyncAccessHandle();
    } catch (error) {
      const held = /** @type {DOMException} */ (error).name === "NoModificationAllowedError";
      if (!held || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** A file that the user chose. It becomes visible when it is whole. @implements {Sink} */
class Picked {
  lasts = false;
  keeps = true;
  seeks = true;
  /** @type {any} a FileSystemWritableFileStream */
  #stream;
  /** @type {Promise<void>[]} */
  #writing = [];

  /** @param {FileSystemFileHandle} handle */
  constructor(handle) {
    this.handle = handle;
  }

  async open() {
    this.#stream = await /** @type {any} */ (this.handle).createWritable();
    return false;
  }

  /** @param {number} position @param {Uint8Array<ArrayBuffer>} data */
  write(position, data) {
    const written = this.#stream.write({ type: "write", position, data });
    written.catch(() => {});
    this.#writing.push(written);
    return this.#writing.length > AHEAD ? this.#writing.shift() : undefined;
  }

  flush() {}

  async finish() {
    await Promise.all(this.#writing);
    await this.#stream.close();
    return null;
  }

  async release() {
    await this.#stream?.abort().catch(() => {});
  }

  async remove() {
    await this.release();
    // What the user chose is emptied, or made, by choosing it.
    const file = await this.handle.getFile().catch(() => null);
    if (file?.size === 0) await /** @type {any} */ (this.handle).remove?.().catch(() => {});
  }
}

/** Writes that may be under way at once. */
const AHEAD = 4;

/** One array. @implements {Sink} */
class InMemory {
  lasts = false;
  keeps = true;
  seeks = true;
  /** @type {Uint8Array<ArrayBuffer> | undefined} */
  #bytes;

  /** @param {number} length */
  async open(length) {
    try {
      this.#bytes = new Uint8Array(length);
    } catch (cause) {
      throw new RoomError("no memory", { cause });
    }
    return false;
  }

  /** @param {number} at @param {Uint8Array<ArrayBuffer>} bytes */
  write(at, bytes) {
    this.#bytes?.set(bytes, at);
  }

  flush() {}

  async finish() {
    const blob = new Blob(this.#bytes ? [this.#bytes] : []);
    this.#bytes = undefined;
    return blob;
  }

  async release() {
    this.#bytes = undefined;
  }

  async remove() {
    await this.release();
  }
}

/** The service worker shows life every few seconds; so many milliseconds without it, and it is gone. */
const SILENCE = 20_000;
const HEARTBEAT = 5000;
/** A browser begins its download at once, or never. Milliseconds. */
const BEGINNING = 30_000;

/**
 * What only a page can do for its worker.
 *
 * @typedef {object} Page
 * @property {(length: number) => void} offer tells the service worker of the download
 * @property {() => void} go makes the browser begin it
 * @property {() => void} poke keeps the service worker from being stopped
 */

/** The browser's own download of an answer that the service worker gives. @implements {Sink} */
class Streamed {
  lasts = false;
  keeps = false;
  seeks = false;
  /** Chunks that it has room for. */
  #room = 0;
  /** @type {Error | null} */
  #broken = null;
  #heard = performance.now();
  #ended = false;
  /** @type {() => void} */
  #changed = () => {};
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heart;

  /**
   * @param {MessagePort} port to the service worker
   * @param {Page} page
   */
  constructor(port, page) {
    this.port = port;
    this.page = page;
  }

  /** @param {number} length */
  async open(length) {
    this.port.onmessage = ({ data }) => {
      this.#heard = performance.now();
      if (data === "offered") this.page.go();
      else if (data === "pull") this.#room += 1;
      else if (data === "ended") this.#ended = true;
      else if (data === "cancelled") this.#break("the browser stopped saving");
      this.#changed();
    };
    this.page.offer(length);
    this.#heart = setInterval(() => {
      this.page.poke();
      this.port.postMessage({ ping: true });
      if (performance.now() - this.#heard > SILENCE) this.#break("the service worker is gone");
    }, HEARTBEAT);
    const late = setTimeout(() => this.#break("the browser did not begin"), BEGINNING);
    await this.#until(() => this.#room > 0).finally(() => clearTimeout(late));
    return false;
  }

  /** @param {string} why */
  #break(why) {
    this.#broken ??= new NotSaved(why);
    this.#changed();
  }

  /** @param {() => boolean} condition */
  async #until(condition) {
    while (!this.#broken && !condition()) await new Promise((resolve) => (this.#changed = () => resolve(undefined)));
    if (this.#broken) throw this.#broken;
  }

  /** @param {number} _at @param {Uint8Array<ArrayBuffer>} chunk */
  write(_at, chunk) {
    if (this.#room === 0 || this.#broken) return this.#until(() => this.#room > 0).then(() => this.#send(chunk));
    this.#send(chunk);
  }

  /** @param {Uint8Array<ArrayBuffer>} chunk */
  #send(chunk) {
    this.#room -= 1;
    this.port.postMessage({ chunk }, [chunk.buffer]);
  }

  flush() {}

  async finish() {
    this.port.postMessage({ end: true });
    await this.#until(() => this.#ended);
    this.#close();
    return null;
  }

  async release() {
    this.port.postMessage({ fail: true });
    this.#close();
  }

  async remove() {
    await this.release();
  }

  #close() {
    clearInterval(this.#heart);
    this.port.close();
  }
}

/**
 * @param {{ kind: string, name: string, handle?: FileSystemFileHandle, port?: MessagePort }} how
 * @param {Page} page
 * @returns {Sink}
 */
export function sinkFor({ kind, name, handle, port }, page) {
  if (kind === "staged") return new Staged(name);
  if (kind === "picker" && handle) return new Picked(handle);
  if (kind === "stream" && port) return new Streamed(port, page);
  if (kind === "memory") return new InMemory();
  throw new RoomError("nowhere to put it");
}
