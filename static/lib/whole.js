// The one file that a download becomes: its only file, or a zip of several. Pure.

import { PLAIN } from "./seal.js";
import { crc32, layout } from "./zip.js";

/** @typedef {{ at: number, bytes: Uint8Array<ArrayBuffer> }} Piece bytes, and where they stand in the file */

/** A file is not what its sender's manifest says, however often it is fetched. */
export class SumError extends Error {
  name = "SumError";
  code = "corrupt";
}

/** Takes the plain content in order, says where it goes, and checks the sums that the manifest has. */
export class Whole {
  /** How much of the content it took. */
  offset = 0;
  /** CRC-32 of each file that it took something of. @type {number[]} */
  crcs = [];
  #files;
  #zip;
  #seeks;
  /** The file that comes next, or is under way. */
  #index = 0;
  /** Bytes of it that were taken; null before its header. @type {number | null} */
  #taken = null;

  /**
   * @param {import("./seal.js").Manifest} manifest
   * @param {number} total bytes of the content
   * @param {boolean} seeks whether bytes may be written again: else what is not known before a file follows it
   */
  constructor({ files }, total, seeks) {
    this.#files = files.map(({ name, size = total, crc32 }) => ({ name, size, crc32 }));
    this.#zip = files.length > 1 ? layout(this.#files, { descriptors: !seeks }) : null;
    this.#seeks = seeks;
    this.length = this.#zip?.size ?? total;
  }

  /**
   * Goes on at the beginning of a record.
   *
   * @param {number} record
   * @param {readonly number[]} crcs
   */
  goOn(record, crcs) {
    this.offset = record * PLAIN;
    this.crcs = [...crcs];
    let left = this.offset;
    while (this.#index < this.#files.length && left > 0 && left >= this.#files[this.#index].size) {
      left -= this.#files[this.#index].size;
      if (this.#zip) this.#zip.entries[this.#index].crc32 ??= crcs[this.#index];
      this.#index += 1;
    }
    this.#taken = left > 0 ? left : null;
  }

  /**
   * @param {Uint8Array<ArrayBuffer>} plain what comes next of the content
   * @returns {Piece} in the buffer of `plain`, or in one of its own
   */
  place(plain) {
    const at = this.#at();
    const pieces = [];
    let left = plain;
    this.offset += plain.length;
    while (left.length > 0) {
      if (this.#taken === null) pieces.push(...this.#begin(left));
      const taken = left.subarray(0, this.#files[this.#index].size - Number(this.#taken));
      left = left.subarray(taken.length);
      pieces.push(taken, ...this.#take(taken));
    }
    return { at, bytes: pieces.length === 1 ? pieces[0] : joined(pieces) };
  }

  /**
   * What is still to be written once the content ended.
   *
   * @returns {Generator<Piece, void>}
   */
  *rest() {
    while (this.#index < this.#files.length) {
      const at = this.#at();
      const pieces = [...this.#begin(new Uint8Array()), ...this.#take(new Uint8Array())];
      yield { at, bytes: joined(pieces) };
    }
    const zip = this.#zip;
    if (!zip) return;
    if (this.#seeks) yield* this.#patches();
    let at = zip.directory;
    for (const bytes of zip.tail()) {
      yield { at, bytes };
      at += bytes.length;
    }
  }

  /** Where in the file the next byte goes. */
  #at() {
    if (!this.#zip) return this.offset;
    const entry = this.#zip.entries[this.#index];
    return this.#taken === null ? entry.header : entry.data + this.#taken;
  }

  /** The header of the file that begins with `next`. @param {Uint8Array<ArrayBuffer>} next */
  #begin(next) {
    this.#taken = 0;
    this.crcs[this.#index] = 0;
    if (!this.#zip) return [];
    const entry = this.#zip.entries[this.#index];
    if (entry.size <= next.length) entry.crc32 ??= crc32(next.subarray(0, entry.size));
    return [this.#zip.header(entry)];
  }

  /** What follows `bytes` of the file that is under way. @param {Uint8Array<ArrayBuffer>} bytes */
  #take(bytes) {
    const index = this.#index;
    const file = this.#files[index];
    const entry = this.#zip?.entries[index];
    this.#taken = Number(this.#taken) + bytes.length;
    if (entry || file.crc32 !== undefined) this.crcs[index] = crc32(bytes, this.crcs[index]);
    if (this.#taken < file.size) return [];
    if (file.crc32 !== undefined && file.crc32 !== this.crcs[index]) throw new SumError("not the sum in the manifest");
    this.#index += 1;
    this.#taken = null;
    if (!entry) return [];
    entry.crc32 = this.crcs[index];
    return entry.described ? [/** @type {import("./zip.js").Layout} */ (this.#zip).descriptor(entry)] : [];
  }

  /** The sums of those files whose headers were written before. @returns {Generator<Piece, void>} */
  *#patches() {
    let start = 0;
    for (const [index, { size, crc32 }] of this.#files.entries()) {
      const spans = Math.floor(start / PLAIN) < Math.floor((start + size - 1) / PLAIN);
      start += size;
      if (crc32 !== undefined || !spans) continue;
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, this.crcs[index], true);
      yield { at: /** @type {import("./zip.js").Layout} */ (this.#zip).entries[index].crc, bytes };
    }
  }
}

/** @param {Uint8Array[]} pieces */
function joined(pieces) {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
