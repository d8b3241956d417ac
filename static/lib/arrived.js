// A download that arrived: handed over, and to be had again as long as this browser keeps its copy.

import { isText, listSingles, showBelow } from "./contents.js";
import { t } from "./text.js";
import { announce, byId, copies, focus, say, timeElement } from "./ui.js";

/**
 * @typedef {object} Arrived
 * @property {import("./download.js").Download} download
 * @property {import("./seal.js").Manifest} manifest
 * @property {string} kind where its bytes went, as `save.js` plans it
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
function showFile({ download, manifest, kind, fresh }) {
  const isKept = kind === "staged" || kind === "memory";
  if (isKept && fresh) download.save();
  say(byId("saved"), isKept ? (fresh ? "receive.saved" : "receive.kept") : "receive.saved.there");
  offerCopy(download, isKept, fresh ? "receive.save_again" : "receive.save");
  const single = byId("single");
  single.hidden = !isKept || manifest.files.length < 2;
  single.addEventListener("toggle", () => listSingles(byId("single-files"), manifest, (index) => download.saveOne(index)), { once: true });
  focus(byId("arrived"));
}

/** @param {Arrived} arrived */
async function showText({ download, kind }) {
  const area = /** @type {HTMLTextAreaElement} */ (byId("revealed"));
  area.value = await download.text();
  area.rows = Math.min(16, area.value.split("\n").length + 1);
  byId("arrived").hidden = true;
  byId("text-block").hidden = false;
  byId("copy").hidden = false;
  copies(byId("copy"), () => area.value);
  offerCopy(download, kind === "staged" || kind === "memory", "receive.save_text");
  area.focus();
}

/**
 * @param {import("./download.js").Download} download
 * @param {boolean} isKept
 * @param {import("./text.js").Key} words
 */
function offerCopy(download, isKept, words) {
  const [save, discard] = [byId("save"), byId("discard")];
  save.hidden = discard.hidden = !isKept;
  save.textContent = t(words);
  save.onclick = () => download.save();
  discard.onclick = async () => {
    await download.discard();
    save.hidden = discard.hidden = byId("single").hidden = true;
    say(byId("saved"), "receive.discarded");
    announce(t("receive.discarded"));
    focus(byId("saved"));
  };
}
