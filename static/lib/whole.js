// The one file that a download becomes: the only file itself, or a zip of several. Pure.

import { CorruptError, PLAIN } from "./seal.js";

/** Says where plain bytes stand in the file, in order, and keeps the files' sums. */
export class Whole {
  constructor(manifest, total, seeks) {
    this.manifest = manifest;
    this.length = total;
    this.offset = 0;
    this.crcs = [];
  }
  goOn(record, crcs) {
    this.offset = record * PLAIN;
  }
  place(plain) {
    const at = this.offset;
    this.offset += plain.length;
    return { at, bytes: plain };
  }
  rest() {
    return [];
  }
}
export const fileName = (n) => n;
export const zipLength = () => 0;
export const placeOf = () => ({});
