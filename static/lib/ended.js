// Where there is nothing to take: what became of it for one who has the key, and one neutral page for everybody else.

import { t } from "./text.js";
import { byId, focus, only, say, timeElement } from "./ui.js";

/** The reasons that somebody took it. */
const TAKEN = ["claimed", "finished", "lapsed"];

/**
 * Says what the page is about, in the tab, too.
 *
 * @param {string} heading
 * @param {string} [lede]
 */
export function headline(heading, lede = "") {
  byId("heading").textContent = document.title = heading;
  byId("lede").textContent = lede;
  byId("lede").hidden = !lede;
}

/**
 * Tells one who has the key what became of it.
 *
 * @param {string} [reason] claimed, finished, lapsed, expired or revoked
 * @param {string} [at] RFC 3339
 */
export function ended(reason = "claimed", at = new Date().toISOString()) {
  const isTaken = TAKEN.includes(reason);
  headline(t(isTaken ? "gone.taken" : reason === "expired" ? "gone.expired" : "gone.revoked"));
  const happened = /** @type {import("./text.js").Key} */ (`gone.happened.${reason}`);
  conclude(happened, isTaken ? "gone.taken.advice" : "gone.advice", at);
}

/**
 * Tells one whose own claim ran out.
 *
 * @param {string} [at] RFC 3339
 */
export function lapsed(at = new Date().toISOString()) {
  headline(t("gone.expired"));
  conclude("receive.lapsed", "gone.advice", at);
}

/**
 * Tells one who took it with this browser, where no copy is left.
 *
 * @param {number} [at] ms
 */
export function takenHere(at = Date.now()) {
  headline(t("gone.taken"));
  conclude("receive.taken_here", "receive.taken_here.advice", at);
}

/** The same words for a share that never was, one that is gone, and a key that is wrong. */
export function nothing() {
  headline(t("gone.never"));
  conclude("receive.nothing", "receive.nothing.advice");
}

/** What can be shown of it, this page can't read. */
export function unreadable() {
  headline(t("receive.unreadable"));
  conclude("receive.unreadable.why", "receive.unreadable.advice");
}

/**
 * @param {import("./text.js").Key} happened
 * @param {import("./text.js").Key} advice
 * @param {string | number} [at]
 */
function conclude(happened, advice, at) {
  say(byId("happened"), happened, at === undefined ? {} : { time: timeElement(at) });
  say(byId("advice"), advice);
  only(byId("receive"), "ended");
  byId("after").hidden = false;
  focus(byId("heading"));
}
