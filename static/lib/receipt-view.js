// A receipt on the page: the stamp, what it means, the timeline. Draws only what changed.

import { plainLength } from "./seal.js";
import { t } from "./text.js";
import { announce, byId, fact, focus, only, say, size, span, timeElement } from "./ui.js";

/** @typedef {import("./api.js").Receipt} Receipt */
/** @typedef {import("./timeline.js").Happening} Happening */

let drawn = "";
/** What screen readers were told. @type {string[]} */
let told = [];

/**
 * @param {Receipt} receipt
 * @param {Happening[]} all
 * @param {number} [sealed] bytes of sealed content, where that is known
 */
export function draw(receipt, all, sealed) {
  drawWaiting(receipt);
  const now = JSON.stringify([receipt, all]);
  if (now === drawn) return;
  const isFirst = drawn === "";
  drawn = now;
  byId("live").hidden = false;
  const revoking = byId("revoke").contains(document.activeElement);
  only(byId("receipt"), "known", ...(receipt.state === "ready" ? ["tear", "revoke"] : []));
  drawState(receipt, sealed);
  if (revoking && byId("revoke").hidden) focus(byId("state"));
  byId("timeline").replaceChildren(...all.map((happening) => row(happening, sealed)));
  mark(receipt);
  const lines = all.map(headline);
  if (!isFirst) announce(lines.filter((line) => !told.includes(line)).join(". "));
  told = lines;
}

/**
 * How long it still waits.
 *
 * @param {Receipt} receipt
 */
function drawWaiting({ state, expires_at: until }) {
  const waits = state === "ready" && until !== null;
  fact("until", waits ? timeElement(until) : null);
  if (waits) say(byId("left"), "left", { span: span(Math.max(0, (Date.parse(until) - Date.now()) / 1000)) });
}

/**
 * @param {Receipt} receipt
 * @param {number} [sealed]
 */
function drawState(receipt, sealed) {
  const { state, claims, downloads } = receipt;
  const word = state === "ready" && claims.length > 0 ? "more" : state;
  const isSent = state === "lapsed" && claims.some(({ served }) => served >= (sealed ?? Infinity));
  byId("state").dataset.state = state;
  say(byId("state"), `receipt.stamp.${word}`);
  say(byId("meaning"), `receipt.meaning.${isSent ? "sent" : word}`);
  say(byId("taken"), "receipt.taken", { taken: claims.length, downloads });
  fact("size", sealed === undefined ? null : size(plainLength(sealed) ?? sealed));
  byId("revoke-taken").hidden = claims.length === 0;
}

/**
 * Title and icon of the tab tell from afar that it arrived.
 *
 * @param {Receipt} receipt
 */
function mark({ claims }) {
  const hasArrived = claims.some(({ state }) => state === "finished");
  document.title = t(hasArrived ? "receipt.tab.arrived" : "receipt.tab", { stamp: byId("state").textContent ?? "" });
  const icon = /** @type {HTMLLinkElement} */ (document.querySelector('link[rel="icon"]'));
  if (hasArrived) icon.href = new URL("../icon-arrived.svg", import.meta.url).href;
}

/** How each looks, where it is more than an open circle. @type {Partial<Record<Happening["what"], string>>} */
const LOOKS = {
  wrong: "bad",
  claimed: "done",
  interrupted: "held",
  arrived: "done",
  unconfirmed: "done",
  expired: "done",
  unseen: "done",
  revoked: "done",
  abandoned: "done",
};

/** What each is called. @type {Record<Happening["what"], import("./text.js").Key>} */
const WORDS = {
  uploading: "receipt.uploading",
  uploaded: "receipt.uploaded",
  unopened: "receipt.unopened",
  opened: "receipt.opened",
  wrong: "receipt.wrong",
  claimed: "receipt.claimed",
  interrupted: "receipt.interrupted",
  resumed: "receipt.resumed",
  arrived: "receipt.arrived",
  unconfirmed: "receipt.unconfirmed",
  expired: "receipt.stamp.expired",
  unseen: "receipt.unseen",
  revoked: "receipt.revoked",
  abandoned: "receipt.stamp.abandoned",
};

/** What happened twice is called so. @type {Partial<Record<Happening["what"], import("./text.js").Key>>} */
const TWICE = {
  opened: "receipt.opened.twice",
  wrong: "receipt.wrong.twice",
  interrupted: "receipt.interrupted.twice",
};

/** @param {Happening} happening */
const headline = ({ what, times = 1 }) => t((times === 2 && TWICE[what]) || WORDS[what], { n: times });

/**
 * @param {Happening} happening
 * @param {number} [sealed]
 */
function row(happening, sealed) {
  const element = document.createElement("li");
  element.className = LOOKS[happening.what] ?? "";
  const strong = document.createElement("strong");
  strong.textContent = headline(happening);
  element.append(strong);
  if (happening.at !== undefined) element.append(" ", timeElement(happening.at));
  if (happening.what === "claimed") element.append(...sent(happening, sealed));
  const why = WHY[happening.what];
  if (why) element.append(" ", remark(t(why)));
  return element;
}

/** What there is to add. @type {Partial<Record<Happening["what"], import("./text.js").Key>>} */
const WHY = {
  opened: "receipt.opened.why",
  wrong: "receipt.wrong.why",
  interrupted: "receipt.interrupted.why",
  arrived: "receipt.arrived.why",
  unconfirmed: "receipt.unconfirmed.why",
};

/**
 * How much of a claim was sent.
 *
 * @param {Happening} happening
 * @param {number} [sealed]
 */
function sent({ served = 0, runs }, sealed) {
  const words = [t("receipt.served", { size: size(served) })];
  if (sealed !== undefined && served > sealed) words.push(t("receipt.resent"));
  if (runs) words.push(t("receipt.runs"));
  if (sealed === undefined) return [" ", remark(words.join(" "))];
  const bar = document.createElement("progress");
  bar.max = sealed;
  bar.value = Math.min(served, sealed);
  bar.setAttribute("aria-label", t("receipt.sent"));
  return [bar, remark(words.join(" "))];
}

/** @param {string} text */
function remark(text) {
  const element = document.createElement("span");
  element.className = "small";
  element.textContent = text;
  return element;
}
