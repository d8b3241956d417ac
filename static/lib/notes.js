// What of an upload may have left this machine, noted durably before it does.
//
// GCM gives away two texts that were sealed under one key, salt and record. So what is sealed again has to be what was
// sealed before, or nothing more may leave under those keys.

import * as remember from "./remember.js";

/** How many notes are kept: of the parts that are alive, and of some that the server may turn out not to have. */
const KEPT = 6;

/** This upload can't go on: nothing may be sealed under its keys any more. Another can begin. */
export class Anew extends Error {
  name = "Anew";
}

/** The notes of one upload. */
export class Notes {
  /**
   * By offset; `kept` resolves once it would survive a crash.
   *
   * @type {Map<number, { digest: Uint8Array, kept: Promise<void> }>}
   */
  #notes = new Map();
  #id;
  #remembered;

  /**
   * @param {string} id the share
   * @param {boolean} remembered whether the upload is; where it is not, no later visit can go on with it
   */
  constructor(id, remembered) {
    this.#id = id;
    this.#remembered = remembered;
  }

  /** Takes up what an earlier visit noted. */
  async load() {
    const known = await remember.get("parts", this.#id);
    for (const { offset, digest } of known?.notes ?? []) this.#notes.set(offset, { digest, kept: Promise.resolve() });
  }

  /**
   * Whether the part that begins at `offset` may have left.
   *
   * @param {number} offset
   */
  has(offset) {
    return this.#notes.has(offset);
  }

  /** Whether anything may have left. */
  get any() {
    return this.#notes.size > 0;
  }

  /**
   * Resolves when the part may leave.
   *
   * @param {import("./parts.js").Part} part
   * @throws {Anew} where it is not the part that was noted
   */
  async take({ offset, digest }) {
    const known = this.#notes.get(offset);
    if (known?.digest.some((byte, at) => byte !== digest[at])) throw new Anew("a file is not what it was");
    if (known) return known.kept;
    const note = { digest, kept: Promise.resolve() };
    this.#notes.set(offset, note);
    const [oldest] = this.#notes.keys();
    if (this.#notes.size > KEPT) this.#notes.delete(oldest);
    note.kept = this.#keep();
    return note.kept;
  }

  async #keep() {
    if (!this.#remembered) return;
    const notes = Array.from(this.#notes, ([offset, { digest }]) => ({ offset, digest }));
    try {
      await remember.put("parts", { id: this.#id, notes });
    } catch {
      // Where there is no room for notes, no later visit may go on.
      await remember.forget("uploads", this.#id);
      this.#remembered = false;
    }
  }
}
