// An upload as one run of bytes, sealed part by part: the sealed manifest, then the sealed content. Knows no network.

import { HEADER, PLAIN, RECORD, sealedLength } from "./seal.js";

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** Records that are sealed at once: more are no faster, fewer are slower. */
const LANES = 4;

/**
 * A part that is ready to be sent.
 *
 * @typedef {object} Part
 * @property {number} offset where it begins in the upload
 * @property {Blob} body
 * @property {Bytes} digest SHA-256 of the SHA-256s of manifest, header and each record, as far as they lie in it
 */

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
   * What is being read, and which record comes next.
   *
   * @type {{ record: number, pieces: AsyncGenerator<Bytes, undefined, void> } | null}
   */
  #reading = null;

  /**
   * @param {import("./reading.js").Files} files
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
   * @returns {Promise<Part>}
   * @throws {import("./reading.js").ChangedError}
   */
  async seal(index) {
    const offset = index * this.size;
    const end = Math.min(offset + this.size, this.length);
    /** @type {Bytes[]} */
    const pieces = [];
    /** @type {Promise<ArrayBuffer>[]} */
    const digests = [];
    const take = (/** @type {number} */ at, /** @type {Bytes} */ bytes) => {
      const piece = bytes.subarray(Math.max(0, offset - at), Math.max(0, end - at));
      if (piece.length === 0) return;
      pieces.push(piece);
      digests.push(crypto.subtle.digest("SHA-256", piece));
    };
    take(0, this.#manifest);
    take(this.#manifest.length, this.#message.header());

    const last = Math.floor((end - 1 - this.#base) / RECORD);
    /** @type {Promise<Bytes>[]} */
    const sealing = [];
    const first = Math.max(0, Math.floor((offset - this.#base) / RECORD));
    let oldest = first;
    const finish = async () => {
      const sealed = await /** @type {Promise<Bytes>} */ (sealing.shift());
      take(this.#base + oldest * RECORD, sealed);
      this.#carried = { record: oldest, sealed };
      oldest += 1;
    };
    for (let record = first; record <= last; record += 1) {
      const known = this.#carried?.record === record ? this.#carried.sealed : null;
      sealing.push(known ? Promise.resolve(known) : this.#seal(record, await this.#read(record)));
      if (sealing.length === LANES) await finish();
    }
    const unchanged = this.#files.unchanged(first * PLAIN, (last + 1) * PLAIN);
    unchanged.catch(() => {});
    while (sealing.length > 0) await finish();
    await unchanged;
    return { offset, body: new Blob(pieces), digest: await digestOf(digests) };
  }

  /**
   * @param {number} record
   * @param {Bytes} plain
   */
  #seal(record, plain) {
    const sealed = this.#message.seal(record, plain, record === this.#records - 1);
    // A failure is told to whoever waits for this record.
    sealed.catch(() => {});
    return sealed;
  }

  /**
   * The plain bytes of a record, good until the next is asked for.
   *
   * @param {number} record
   */
  async #read(record) {
    if (this.#reading?.record !== record) {
      await this.stop();
      this.#reading = { record, pieces: this.#files.from(record * PLAIN, PLAIN) };
    }
    this.#reading.record += 1;
    const { value } = await this.#reading.pieces.next();
    return value ?? new Uint8Array();
  }

  /** Nothing more is read. */
  async stop() {
    await this.#reading?.pieces.return(undefined);
    this.#reading = null;
  }
}

/**
 * One digest of many: WebCrypto's can't be fed bit by bit, and to put 16 MiB together takes half as long as hashing.
 *
 * @param {Promise<ArrayBuffer>[]} digests
 */
async function digestOf(digests) {
  const all = await new Blob(await Promise.all(digests)).arrayBuffer();
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}
