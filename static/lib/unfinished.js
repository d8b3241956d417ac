// Uploads that an earlier visit began: how far each got, and how it goes on.

import * as api from "./api.js";
import { ask } from "./ask.js";
import { choose, ofDrop } from "./files.js";
import { forgetUpload, get } from "./remember.js";
import { contentsOf } from "./share.js";
import { t } from "./text.js";
import { byId, clone, part, size } from "./ui.js";
import { matches, unfinished } from "./upload.js";

/** @typedef {import("./remember.js").UploadRecord} UploadRecord */
/** @typedef {import("./upload.js").Source} Source */
/** @typedef {(record: UploadRecord, sources: Source[] | null) => void} GoOn */

/**
 * Shows the uploads that wait to go on, if there are any.
 *
 * @param {HTMLElement} place
 * @param {GoOn} goOn is given the files where they had to be chosen again
 * @param {() => void} changed called when there may be one more or less
 */
export async function showUnfinished(place, goOn, changed) {
  const records = await unfinished(changed);
  const rows = await Promise.all(records.map((record) => row(record, goOn, changed)));
  if (rows.length === 0) return place.replaceChildren();
  const section = clone("unfinished");
  part(section, "list").append(...rows);
  place.replaceChildren(section);
}

/**
 * @param {UploadRecord} record
 * @param {GoOn} goOn
 * @param {() => void} changed
 */
async function row(record, goOn, changed) {
  const element = clone("unfinished-row");
  const name = contentsOf(record.manifest);
  const names = part(element, "names");
  names.textContent = name;
  names.id = `unfinished-${record.id}`;
  for (const action of ["on", "discard"]) part(element, action).setAttribute("aria-describedby", names.id);
  part(element, "bar").setAttribute("aria-label", t("send.unfinished.bar", { name }));
  part(element, "discard").addEventListener("click", async () => {
    if (!(await ask(discarding()))) return;
    await discard(record);
    changed();
    byId("main").focus();
  });
  if (atHand(record)) offerGoOn(element, record, goOn);
  else chooseAgain(element, record, goOn);
  tell(element, record, (await get("parts", record.id))?.notes.at(-1)?.offset ?? 0);
  // The server knows better, if it can be reached.
  api.uploadOffset(record.location).then(
    (reached) => {
      tell(element, record, reached);
      // What it has whole takes no file any more.
      if (reached === record.length) offerGoOn(element, record, goOn);
    },
    (error) => {
      if (api.hasEnded(error)) tooLate(element);
    },
  );
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {UploadRecord} record
 * @param {number} reached bytes
 */
function tell(element, { length }, reached) {
  /** @type {HTMLProgressElement} */ (part(element, "bar")).value = reached / length;
  part(element, "amount").textContent = t("send.amount", { sent: size(reached), total: size(length) });
}

/** @param {HTMLElement} element */
function tooLate(element) {
  part(element, "how").textContent = t("send.unfinished.gone");
  part(element, "on").hidden = true;
  delete element.dataset.drop;
  element.ondrop = null;
}

/**
 * The row goes on by one click, without files or with those that the browser has.
 *
 * @param {HTMLElement} element
 * @param {UploadRecord} record
 * @param {GoOn} goOn
 */
function offerGoOn(element, record, goOn) {
  part(element, "how").textContent = t("send.unfinished.ready");
  part(element, "on").textContent = t("send.unfinished.on");
  part(element, "on").onclick = async () => {
    if (await allowed(record)) goOn(record, null);
    else chooseAgain(element, record, goOn);
  };
}

/**
 * From here on the row takes the files, by its button or dropped on it, at once or one after the other.
 *
 * @param {HTMLElement} element
 * @param {UploadRecord} record
 * @param {GoOn} goOn
 */
function chooseAgain(element, record, goOn) {
  /** @type {Source[]} */
  const chosen = [];
  let missing = missingOf(record, chosen);
  const take = (/** @type {Source[]} */ sources) => {
    chosen.push(...sources);
    const matching = matches(record, chosen);
    if (matching) return goOn(record, matching);
    const before = missing.length;
    missing = missingOf(record, chosen);
    const some = missing.length < before;
    part(element, "problem").textContent = some ? "" : t("send.unfinished.wrong");
    if (some) part(element, "how").textContent = t("send.unfinished.missing", { n: missing.length });
  };
  const folder = missing.some(inFolder);
  part(element, "how").textContent = t(folder ? "send.unfinished.need.folder" : "send.unfinished.need", { n: missing.length });
  part(element, "on").textContent = t("send.unfinished.choose");
  part(element, "on").onclick = () => choose(missing.some(inFolder), take);
  element.dataset.drop = "";
  element.ondrop = async (event) => {
    if (event.dataTransfer) take((await ofDrop(event.dataTransfer)).sources);
  };
}

/** @param {{ name: string }} file */
const inFolder = ({ name }) => name.includes("/");

/**
 * The files of an upload that are not among those that were chosen.
 *
 * @param {UploadRecord} record
 * @param {Source[]} chosen
 */
const missingOf = (record, chosen) =>
  record.manifest.files.filter((file, at) => {
    const alone = { manifest: { ...record.manifest, files: [file] }, kept: [record.kept[at]], stamps: [record.stamps[at]] };
    return matches({ ...record, ...alone }, chosen) === null;
  });

/**
 * Whether the browser has each file, or can open it again by itself.
 *
 * @param {UploadRecord} record
 */
const atHand = ({ manifest, kept, handles }) => manifest.files.every((_, at) => kept[at] || handles[at]);

/**
 * Whether the browser may open the files that it has handles of; it asks, which takes a click.
 *
 * @param {UploadRecord} record
 */
async function allowed({ handles }) {
  for (const handle of handles) {
    if (!handle) continue;
    try {
      const answer = await /** @type {any} */ (handle).requestPermission({ mode: "read" });
      if (answer !== "granted") return false;
    } catch {
      return false;
    }
  }
  return true;
}

/** @param {UploadRecord} record */
async function discard(record) {
  // Another tab may have brought it to its end: it is a share then, which nobody means.
  if (!(await get("uploads", record.id).catch(() => record))) return;
  await forgetUpload(record.id);
  // Out of reach it ends by itself, when its window does.
  await api.abandonUpload(record).catch(() => {});
}

const discarding = () => ({
  title: t("send.discard.title"),
  text: t("send.cancel.text"),
  yes: t("send.discard.yes"),
  no: t("send.discard.no"),
});
