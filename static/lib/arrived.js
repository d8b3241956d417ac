// A download that arrived: handed over, and to be had again as long as this browser keeps its copy.

import { isText, listSingles, showBelow } from "./contents.js";
import { byId, copies, focus, say, timeElement } from "./ui.js";

/** @typedef {import("./download.js").Download} Download */

/**
 * @typedef {object} Arrived
 * @property {Download} download
 * @property {import("./seal.js").Manifest} manifest
 * @property {boolean} fresh whether it arrived just now
 * @property {boolean} isFinished whether the server knows
 * @property {number} [at] ms: when it arrived, where that is past
 */

/** Where it stands: a second call for the same download says only what changed. */
let shown = false;

/** @param {Arrived} arrived */
export function showArrived(arrived) {
  sayVerified(arrived);
  if (shown) return;
  shown = true;
  showBelow("done");
  byId("lede").hidden = true;
  byId("after").hidden = false;
  if (isText(arrived.manifest)) void showText(arrived);
  else showFile(arrived);
}

/** @param {Arrived} arrived */
function sayVerified({ at, isFinished }) {
  if (at !== undefined) say(byId("verified"), "receive.taken_here", { time: timeElement(at) });
  else say(byId("verified"), isFinished ? "receive.verified" : "receive.verified.pending");
}

/** @param {Arrived} arrived */
function showFile({ download, manifest, fresh }) {
  const isKept = keeps(download);
  if (isKept && fresh) void attempt(() => download.save());
  const elsewhere = download.kind === "stream" ? "receive.saved.stream" : "receive.saved.there";
  say(byId("saved"), isKept ? (fresh ? "receive.saved" : "receive.kept") : elsewhere);
  offerCopy(download, fresh ? "receive.save_again" : "receive.save");
  const single = byId("single");
  single.hidden = !isKept || manifest.files.length < 2;
  const list = () =>
    listSingles(byId("single-files"), manifest, (index) => void attempt(() => download.saveOne(index)));
  single.addEventListener("toggle", list, { once: true });
  focus(byId("arrived"));
}

/** @param {Arrived} arrived */
async function showText({ download }) {
  const area = /** @type {HTMLTextAreaElement} */ (byId("revealed"));
  try {
    area.value = await download.text();
  } catch {
    return withoutCopy("receive.lost_copy");
  }
  area.rows = Math.min(16, area.value.split("\n").length + 1);
  byId("arrived").hidden = true;
  byId("text-block").hidden = false;
  byId("copy").hidden = false;
  copies(byId("copy"), () => area.value);
  offerCopy(download, "receive.save_text");
  area.focus();
}

/** Whether this browser has a copy that it can hand over again. @param {Download} download */
const keeps = ({ kind }) => kind === "staged" || kind === "memory";

/**
 * @param {Download} download
 * @param {import("./text.js").Key} words
 */
function offerCopy(download, words) {
  byId("save").hidden = byId("discard").hidden = !keeps(download);
  say(byId("save"), words);
  byId("save").onclick = () => attempt(() => download.save());
  byId("discard").onclick = async () => {
    await download.discard();
    withoutCopy("receive.discarded");
  };
}

/** Hands it over, unless the browser has thrown its copy away. @param {() => Promise<void>} act */
async function attempt(act) {
  try {
    await act();
  } catch {
    withoutCopy("receive.lost_copy");
  }
}

/** @param {import("./text.js").Key} why */
function withoutCopy(why) {
  byId("save").hidden = byId("discard").hidden = byId("single").hidden = true;
  say(byId("saved"), why);
  focus(byId("saved"));
}
