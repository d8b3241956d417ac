// What was sent from this browser: what became of it, and what one can still do about it.

import * as api from "./api.js";
import { ask } from "./ask.js";
import { all, forget, put } from "./remember.js";
import { problemOf } from "./sending.js";
import { linkOf, namesOf, receiptOf } from "./share.js";
import { isKey, t } from "./text.js";
import { announce, byId, clone, clock, copies, part, size } from "./ui.js";

/** @typedef {import("./remember.js").ShareRecord} ShareRecord */

/** The states that nothing changes any more. */
const ENDS = ["finished", "lapsed", "expired", "revoked", "abandoned"];

export class Shares {
  #place;
  #section = clone("shares");
  /** @type {Map<string, Row>} */
  #rows = new Map();

  /** @param {HTMLElement} place */
  constructor(place) {
    this.#place = place;
    part(this.#section, "tidy").addEventListener("click", () => this.#tidy());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.refresh());
  }

  /** Shows what is remembered, the last first, and asks the server what became of it. */
  async refresh() {
    const shares = (await all("shares")).sort((a, b) => b.createdAt - a.createdAt);
    const known = this.#rows;
    this.#rows = new Map(shares.map((share) => [share.id, known.get(share.id) ?? new Row(share, () => this.#forget(share))]));
    arrange(part(this.#section, "list"), [...this.#rows.values()].map((row) => row.element));
    if (shares.length === 0) this.#section.remove();
    else if (!this.#section.isConnected) this.#place.append(this.#section);
    await Promise.all([...this.#rows.values()].map((row) => row.refresh()));
    part(this.#section, "tidy").hidden = this.#over().length < 2;
  }

  /** Those that nothing can become of any more. */
  #over() {
    return [...this.#rows].filter(([, row]) => row.ended).map(([id]) => id);
  }

  async #tidy() {
    for (const id of this.#over()) await forget("shares", id);
    announce(t("shares.forgotten"));
    await this.refresh();
    byId("main").focus();
  }

  /** @param {ShareRecord} share */
  async #forget(share) {
    await forget("shares", share.id);
    announce(t("shares.forgotten"));
    const ids = [...this.#rows.keys()];
    const next = ids[ids.indexOf(share.id) + 1] ?? ids[ids.indexOf(share.id) - 1];
    await this.refresh();
    /** @type {HTMLElement | null | undefined} */
    const neighbour = this.#rows.get(next)?.element.querySelector('[data-part="forget"]');
    (neighbour ?? byId("main")).focus();
  }
}

/**
 * Makes `rows` the list's children. Those that stay keep their place, and one of them the focus.
 *
 * @param {HTMLElement} list
 * @param {HTMLElement[]} rows
 */
function arrange(list, rows) {
  for (const row of [...list.children]) if (!rows.includes(/** @type {HTMLElement} */ (row))) row.remove();
  rows.forEach((row, at) => list.children[at] === row || list.insertBefore(row, list.children[at] ?? null));
}

class Row {
  element = clone("share-row");
  #share;
  #over = false;
  /** @type {import("./api.js").Receipt | undefined} */
  #receipt;

  /**
   * @param {ShareRecord} share
   * @param {() => void} forget
   */
  constructor(share, forget) {
    this.#share = share;
    const names = this.#part("names");
    names.textContent = namesOf(share);
    names.id = `share-${share.id}`;
    for (const action of this.#part("actions").children) action.setAttribute("aria-describedby", names.id);
    this.#part("receipt").setAttribute("href", receiptOf(share));
    copies(this.#part("copy"), () => linkOf(share), () => this.#showLink());
    this.#part("revoke").addEventListener("click", () => this.#revoke());
    this.#part("forget").addEventListener("click", async () => {
      if (this.ended || (await ask(forgetting()))) forget();
    });
    this.#show();
  }

  /** Whether nothing can be taken any more. */
  get ended() {
    return this.#over || ENDS.includes(this.#share.state);
  }

  /** Asks the server, if there is anything to ask. */
  async refresh() {
    if (this.ended) return;
    try {
      this.#receipt = await api.receipt(this.#share.id, this.#share.owner);
      const { state } = this.#receipt;
      if (state !== this.#share.state) await put("shares", (this.#share = { ...this.#share, state }));
    } catch (error) {
      // Any other failure passes: the state as last seen stays.
      this.#over = error instanceof api.ApiError && !error.foreign && error.status === 404;
    }
    this.#show();
  }

  async #revoke() {
    if (!(await ask(revoking()))) return;
    try {
      await api.revoke(this.#share.id, this.#share.owner);
      this.#part("problem").textContent = "";
    } catch (error) {
      this.#part("problem").textContent = whyNot(error);
    }
    await this.refresh();
    announce(this.#part("state").textContent ?? "");
    this.#part("receipt").focus();
  }

  /** Where it has to be copied by hand. */
  #showLink() {
    const field = this.element.querySelector("input") ?? document.createElement("input");
    field.className = "link";
    field.readOnly = true;
    field.value = linkOf(this.#share);
    field.setAttribute("aria-labelledby", this.#part("names").id);
    this.#part("actions").after(field);
    field.select();
  }

  #show() {
    const state = this.#over ? "over" : this.#share.state;
    const badge = this.#part("state");
    badge.dataset.state = state;
    const key = `shares.state.${state}`;
    badge.textContent = isKey(key) ? t(key) : state;
    this.#part("facts").textContent = this.#facts().join(" · ");
    this.#part("copy").hidden = this.ended || state === "claimed";
    this.#part("receipt").hidden = this.#over;
    this.#part("revoke").hidden = state !== "ready";
  }

  #facts() {
    const { size: bytes, createdAt, expiresAt, downloads, state } = this.#share;
    const facts = [t("shares.facts", { size: size(bytes), at: clock(createdAt) })];
    if (state === "ready" && !this.#over) facts.push(t("shares.until", { at: clock(expiresAt) }));
    const taken = this.#receipt?.claims.length ?? 0;
    if (downloads > 1 && taken > 0) facts.push(t("shares.taken", { n: taken, downloads }));
    return facts;
  }

  /** @param {string} name */
  #part(name) {
    return part(this.element, name);
  }
}

/** Why it could not be revoked. What is not there any more says so itself. @param {unknown} error */
function whyNot(error) {
  if (!(error instanceof api.ApiError) || error.foreign) return t("shares.revoke.failed", { why: problemOf("unreachable") });
  if (error.code === "claimed") return t("receipt.revoke.late");
  return error.status === 404 ? "" : t("receipt.revoke.failed");
}

const revoking = () => ({
  title: t("shares.revoke.title"),
  text: t("shares.revoke.text"),
  yes: t("shares.revoke.yes"),
  no: t("shares.revoke.no"),
});

const forgetting = () => ({
  title: t("shares.forget.title"),
  text: t("shares.forget.text"),
  yes: t("shares.forget.yes"),
  no: t("shares.forget.no"),
});
