// Uploads that an earlier visit began: how far each got, and how it goes on.

import * as api from "./api.js";
import { ask } from "./ask.js";
import { ofDrop, ofInput } from "./files.js";
import { forget, get } from "./remember.js";
import { contentsOf } from "./share.js";
import { t } from "./text.js";
import { clone, part, size } from "./ui.js";
import { matches, unfinished } from "./upload.js";

/** @typedef {import("./remember.js").UploadRecord} UploadRecord */
/** @typedef {import("./upload.js").Source} Source */
/** @typedef {(record: UploadRecord, sources: Source[] | null) => void} GoOn */

/**
 * Shows the uploads that wait to go on, if there are any.
 *
 * @param {HTMLElement} place
 * @param {GoOn} goOn is given the files where they had to be chosen again
 */
export async function showUnfinished(place, goOn) {
  const records = await unfinished();
  place.replaceChildren();
  if (records.length === 0) return;
  const section = clone("unfinished");
  const rows = await Promise.all(records.map((record) => row(record, goOn, () => showUnfinished(place, goOn))));
  part(section, "list").append(...rows);
  place.append(section);
}

/**
 * @param {UploadRecord} record
 * @param {GoOn} goOn
 * @param {() => void} gone
 */
async function row(record, goOn, gone) {
  const element = clone("unfinished-row");
  const at = (/** @type {string} */ name) => part(element, name);
  const name = contentsOf(record.manifest);
  at("names").textContent = name;
  const bar = /** @type {HTMLProgressElement} */ (at("bar"));
  bar.setAttribute("aria-label", t("send.unfinished.bar", { name }));
  const reached = await progress(record);
  bar.value = (reached ?? 0) / record.length;
  at("amount").textContent = t("send.amount", { sent: size(reached ?? 0), total: size(record.length) });
  at("discard").addEventListener("click", async () => {
    if (await ask(discarding())) await discard(record).then(gone);
  });
  const on = at("on");
  if (reached === null) {
    at("how").textContent = t("send.unfinished.gone");
    on.hidden = true;
    return element;
  }
  const choose = () => chooseAgain(element, record, goOn);
  // What the server has whole takes no file any more.
  if (reached < record.length && !atHand(record)) choose();
  else {
    at("how").textContent = t("send.unfinished.ready");
    on.textContent = t("send.unfinished.on");
    on.addEventListener("click", async () => ((await allowed(record)) ? goOn(record, null) : choose()), { once: true });
  }
  return element;
}

/**
 * From here on the row takes the files, by its button or dropped on it.
 *
 * @param {HTMLElement} element
 * @param {UploadRecord} record
 * @param {GoOn} goOn
 */
function chooseAgain(element, record, goOn) {
  const { files } = record.manifest;
  const folder = files.some(({ name }) => name.includes("/"));
  part(element, "how").textContent = folder ? t("send.unfinished.need.folder") : t("send.unfinished.need", { n: files.length });
  const take = (/** @type {Source[]} */ sources) => {
    const matching = matches(record, sources);
    if (matching) goOn(record, matching);
    else part(element, "problem").textContent = t("send.unfinished.wrong");
  };
  const on = part(element, "on");
  on.textContent = t("send.unfinished.choose");
  on.addEventListener("click", () => {
    const input = document.createElement("input");
    input.type = "file";
    input.multiple = true;
    input.webkitdirectory = folder;
    input.addEventListener("change", () => take(ofInput(input)));
    input.click();
  });
  element.dataset.drop = "on";
  element.addEventListener("drop", async (event) => {
    if (event.dataTransfer) take((await ofDrop(event.dataTransfer)).sources);
  });
}

/**
 * How many bytes the server has; null where it has given the upload up.
 *
 * @param {UploadRecord} record
 */
async function progress(record) {
  try {
    return await api.uploadOffset(record.location);
  } catch (error) {
    if (error instanceof api.ApiError && (error.status === 404 || error.status === 410)) return null;
    return (await get("parts", record.id))?.notes.at(-1)?.offset ?? 0;
  }
}

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
  await forget("uploads", record.id);
  await forget("parts", record.id);
  try {
    await api.abandonUpload(record.location);
  } catch (error) {
    // Any other failure: the server gives it up by itself.
    const published = error instanceof api.ApiError && error.code === "published";
    if (published) await api.revoke(record.id, record.owner).catch(() => {});
  }
}

const discarding = () => ({
  title: t("send.discard.title"),
  text: t("send.cancel.text"),
  yes: t("send.discard.yes"),
  no: t("send.discard.no"),
});
