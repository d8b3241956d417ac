// An upload as one run of bytes, sealed part by part: the sealed manifest, then the sealed content. Knows no network.

import { HEADER, PLAIN, RECORD, sealedLength } from "./seal.js";

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** Records that are read at once: 4 MiB. */
const UNIT = 16;
/** Records that are sealed at once: more are no faster, fewer are slower. */
const LANES = 4;
/** Small files that are read at once. */
const READERS = 16;

/** A file that can't be read, or is not as long as it was: it was changed, moved or removed. */
export class ChangedError extends Error {
  name = "ChangedError";
  /** For the words that people read. */
  code = "changed";

  /**
   * @param {number} index which of the files
   * @param {unknown} [cause]
   */
  constructor(index, cause) {
    super(`file ${index} is not what it was`, { cause });
    this.index = index;
  }
}

/** The bytes of some files, one after the other. */
export class Files {
  /** Where each begins, and the end of all. */
  #starts = [0];
  #files;

  /** @param {readonly Blob[]} files */
  constructor(files) {
    this.#files = files;
    files.forEach((file, index) => this.#starts.push(this.#starts[index] + file.size));
    /** Bytes in all. */
    this.length = this.#starts[files.length];
  }

  /**
   * @param {number} from
   * @param {number} to
   * @returns {Promise<Bytes>} bytes `from` to `to`
   * @throws {ChangedError}
   */
  async read(from, to) {
    const pieces = this.#pieces(from, to);
    if (pieces.length === 1) return this.#piece(pieces[0]);
    // One byte more, so that the last record, too, can be sealed where it lies.
    const bytes = new Uint8Array(to - from + 1);
    let next = 0;
    const reader = async () => {
      while (next < pieces.length) {
        const piece = pieces[next++];
        bytes.set(await this.#piece(piece), piece.at - from);
      }
    };
    await Promise.all(Array.from({ length: READERS }, reader));
    return bytes.subarray(0, to - from);
  }

  /**
   * Where bytes `from` to `to` lie: which file, which of its bytes, and where those stand among all.
   *
   * @param {number} from
   * @param {number} to
   */
  #pieces(from, to) {
    const pieces = [];
    for (let index = this.#indexAt(from), at = from; at < to; index += 1) {
      const [start, end] = [this.#starts[index], Math.min(to, this.#starts[index + 1])];
      if (end > at) pieces.push({ index, from: at - start, to: end - start, at });
      at = Math.max(at, end);
    }
    return pieces;
  }

  /**
   * The last file that begins at or before `at`.
   *
   * @param {number} at
   */
  #indexAt(at) {
    let [low, high] = [0, this.#files.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#starts[middle] <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** @param {{ index: number, from: number, to: number }} piece */
  async #piece({ index, from, to }) {
    let bytes;
    try {
      bytes = new Uint8Array(await this.#files[index].slice(from, to).arrayBuffer());
    } catch (error) {
      throw new ChangedError(index, error);
    }
    if (bytes.length !== to - from) throw new ChangedError(index);
    return bytes;
  }
}

/** The parts of one upload. */
export class Parts {
  #files;
  #manifest;
  #message;
  #records;
  /** Where the content's first record begins. */
  #base;
  /** The record that the last part ended in: the next begins in it. @type {{ record: number, sealed: Bytes } | null} */
  #carried = null;

  /**
   * @param {Files} files
   * @param {Bytes} manifest sealed
   * @param {import("./seal.js").Message} message the content's
   * @param {number} size bytes of a part
   */
  constructor(files, manifest, message, size) {
    this.#files = files;
    this.#manifest = manifest;
    this.#message = message;
    this.size = size;
    this.#records = Math.max(1, Math.ceil(files.length / PLAIN));
    this.#base = manifest.length + HEADER;
    /** Bytes of the whole upload. */
    this.length = manifest.length + sealedLength(files.length);
    this.count = Math.ceil(this.length / size);
  }

  /**
   * Seals part `index`: bytes `index * size` and following of the upload. One at a time; in their order it is quickest.
   *
   * @param {number} index
   * @returns {Promise<Bytes>}
   * @throws {ChangedError}
   */
  async seal(index) {
    const from = index * this.size;
    const part = new Uint8Array(Math.min(this.size, this.length - from));
    const place = (/** @type {number} */ at, /** @type {Bytes} */ bytes) => {
      const [first, end] = [Math.max(at, from), Math.min(at + bytes.length, from + part.length)];
      if (first < end) part.set(bytes.subarray(first - at, end - at), first - from);
    };
    place(0, this.#manifest);
    place(this.#manifest.length, this.#message.header());

    const last = Math.floor((from + part.length - 1 - this.#base) / RECORD);
    let next = Math.max(0, Math.floor((from - this.#base) / RECORD));
    if (this.#carried?.record === next) {
      place(this.#base + next * RECORD, this.#carried.sealed);
      next += 1;
    }
    const plain = this.#reading(next, last);
    const lane = async () => {
      while (next <= last) {
        const record = next++;
        const sealed = await this.#message.seal(record, await plain(record), record === this.#records - 1);
        place(this.#base + record * RECORD, sealed);
        if (record === last) this.#carried = { record, sealed };
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return part;
  }

  /**
   * Reads ahead: gives the plain bytes of records `first` to `last`, asked for in that order.
   *
   * @param {number} first
   * @param {number} last
   */
  #reading(first, last) {
    /** @type {Map<number, Promise<Bytes>>} */
    const units = new Map();
    const unit = (/** @type {number} */ number) => {
      const begin = first + number * UNIT;
      if (begin > last) return;
      const end = Math.min(begin + UNIT, last + 1);
      const bytes = this.#files.read(begin * PLAIN, Math.min(end * PLAIN, this.#files.length));
      // A failure is told to whoever asks for these bytes.
      bytes.catch(() => {});
      units.set(number, bytes);
    };
    if (first <= last) unit(0);
    return async (/** @type {number} */ record) => {
      const number = Math.floor((record - first) / UNIT);
      if (!units.has(number + 1)) {
        unit(number + 1);
        units.delete(number - 1);
      }
      const bytes = await /** @type {Promise<Bytes>} */ (units.get(number));
      const at = (record - first - number * UNIT) * PLAIN;
      return bytes.subarray(at, at + PLAIN);
    };
  }
}
