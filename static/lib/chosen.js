// The files that are chosen to be sent, and their list on the page.

import { free } from "./files.js";
import { nameElement, visible } from "./names.js";
import { t } from "./text.js";
import { announce, clone, part, size } from "./ui.js";

/** @typedef {import("./upload.js").Source} Source */

/** So many are listed at once; the rest unfold. */
const LISTED = 12;

export class Chosen {
  /** @type {Source[]} */
  sources = [];
  #section;
  #changed;
  #listed = LISTED;

  /**
   * @param {HTMLElement} section
   * @param {() => void} changed called after each change
   */
  constructor(section, changed) {
    this.#section = section;
    this.#changed = changed;
    part(section, "clear").addEventListener("click", () => {
      this.clear();
      announce(t("send.cleared"));
    });
    part(section, "more").addEventListener("click", () => {
      const first = this.#listed;
      this.#listed = Infinity;
      this.#render();
      this.#focus(first);
    });
  }

  /** Bytes of all together. */
  get size() {
    return this.sources.reduce((sum, { file }) => sum + file.size, 0);
  }

  /** How many there are, and their bytes, in words. */
  get sum() {
    return t("send.sum", { n: this.sources.length, size: size(this.size) });
  }

  /**
   * Adds files to those that are there. One whose name is taken gets a number.
   *
   * @param {Source[]} sources
   */
  add(sources) {
    const taken = new Set(this.sources.map(({ name }) => name));
    for (const source of sources) {
      const name = free(source.name, taken);
      taken.add(name);
      this.sources.push({ ...source, name });
    }
    this.#render();
    this.#changed();
  }

  clear() {
    this.sources = [];
    this.#listed = LISTED;
    this.#render();
    this.#changed();
  }

  /** @param {number} at */
  #remove(at) {
    const [{ name }] = this.sources.splice(at, 1);
    this.#render();
    this.#changed();
    this.#focus(at);
    announce(t("send.removed", { name: visible(name), sum: this.sum }));
  }

  #render() {
    const { sources } = this;
    const hidden = Math.max(0, sources.length - this.#listed);
    this.#section.hidden = sources.length === 0;
    part(this.#section, "list").replaceChildren(...sources.slice(0, sources.length - hidden).map((source, at) => this.#row(source, at)));
    part(this.#section, "sum").textContent = this.sum;
    part(this.#section, "clear").hidden = sources.length < 2;
    const more = part(this.#section, "more");
    more.hidden = hidden === 0;
    more.textContent = t("send.more", { n: hidden });
  }

  /**
   * @param {Source} source
   * @param {number} at
   */
  #row({ file, name }, at) {
    const row = clone("file-row");
    part(row, "name").replaceWith(nameElement(name));
    part(row, "size").textContent = size(file.size);
    const remove = part(row, "remove");
    remove.setAttribute("aria-label", t("send.remove", { name: visible(name) }));
    remove.addEventListener("click", () => this.#remove(at));
    return row;
  }

  /**
   * Whoever removes one with the keyboard goes on with the next.
   *
   * @param {number} at
   */
  #focus(at) {
    const buttons = /** @type {NodeListOf<HTMLElement>} */ (this.#section.querySelectorAll('[data-part="remove"]'));
    const next = buttons[Math.min(at, buttons.length - 1)] ?? document.getElementById("file");
    next?.focus();
  }
}
