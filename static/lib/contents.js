// What a share holds, as its recipient sees it: files, note, how long it waits.

import { nameElement, visible } from "./names.js";
import { plainLength } from "./seal.js";
import { t } from "./text.js";
import { byId, fact, only, say, size, span, timeElement } from "./ui.js";

/** @typedef {import("./seal.js").Manifest} Manifest */
/** @typedef {import("./seal.js").ManifestFile} ManifestFile */

/** So many files are listed at once; the rest unfold. */
const LISTED = 12;
/** A text of more bytes is a file: a page is no place to read it. */
const READABLE = 1 << 20;

/** @param {Manifest} manifest */
export const plainSize = (manifest) => manifest.files.reduce((sum, file) => sum + (file.size ?? 0), 0);

/**
 * Whether it is a text to be shown, rather than a file to be saved.
 *
 * @param {Manifest} manifest
 */
export const isText = ({ files }) => files.length === 1 && files[0].kind === "text" && (files[0].size ?? 0) <= READABLE;

/**
 * Shows what is known of the share, and below it the part of the page with this id.
 *
 * @param {string} id
 */
export function showBelow(id) {
  const isKnown = [...byId("contents").querySelectorAll("#files, #note, .facts > div")].some(
    (one) => !(/** @type {HTMLElement} */ (one).hidden),
  );
  only(byId("receive"), ...(isKnown ? ["contents", "tear"] : []), id);
}

/**
 * What it is, as a heading.
 *
 * @param {Manifest} manifest
 */
export function headingOf(manifest) {
  if (isText(manifest)) return t("receive.title.text");
  return manifest.files.length > 1 ? t("receive.many", { n: manifest.files.length }) : t("receive.title");
}

/**
 * Shows what the manifest tells.
 *
 * @param {Manifest} manifest
 */
export function showManifest(manifest) {
  const { files, note } = manifest;
  const isFile = !isText(manifest);
  byId("sealed-names").hidden = true;
  list(byId("files"), isFile ? files.slice(0, LISTED) : []);
  byId("files").hidden = !isFile;
  const rest = files.slice(LISTED);
  byId("more").hidden = rest.length === 0;
  byId("more-count").textContent = t("receive.more", { n: rest.length });
  byId("more").addEventListener("toggle", () => list(byId("more-files"), rest), { once: true });
  byId("note").hidden = !note;
  byId("note-text").textContent = note ?? "";
  fact("size", isFile ? null : size(plainSize(manifest)));
  fact("sum", files.length > 1 ? t("receive.zip", { size: size(plainSize(manifest)) }) : null);
}

/**
 * Shows what the server tells of a share that waits.
 *
 * @param {import("./api.js").Peek} seen
 */
export function showWaiting(seen) {
  const seconds = (Date.parse(seen.expires_at) - Date.now()) / 1000;
  fact("until", timeElement(seen.expires_at));
  say(byId("left"), "left", { span: span(Math.max(0, seconds)) });
  fact("downloads-left", seen.downloads_left === undefined ? null : String(seen.downloads_left));
}

/** Of a share that was taken here, how long it would have waited is no news. */
export function hideWaiting() {
  for (const id of ["until", "downloads-left"]) fact(id, null);
}

/**
 * Shows a share whose names are sealed with a password.
 *
 * @param {import("./api.js").Peek} seen
 */
export function showLocked(seen) {
  byId("sealed-names").hidden = false;
  showWaiting(seen);
  fact("size", size(plainLength(seen.size) ?? seen.size));
}

/**
 * @param {HTMLElement} element
 * @param {ManifestFile[]} files
 */
function list(element, files) {
  element.replaceChildren(...files.map((file) => row(file, sizeElement(file))));
}

/**
 * Lists every file with a button that saves it alone.
 *
 * @param {HTMLElement} element
 * @param {Manifest} manifest
 * @param {(index: number) => void} save
 */
export function listSingles(element, manifest, save) {
  const rows = manifest.files.map((file, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small-button";
    button.textContent = t("receive.save_single");
    button.setAttribute("aria-label", t("receive.save_single.of", { name: visible(file.name) }));
    button.addEventListener("click", () => save(index));
    return row(file, sizeElement(file), button);
  });
  element.replaceChildren(...rows);
}

/**
 * @param {ManifestFile} file
 * @param {Node[]} beside
 */
function row(file, ...beside) {
  const element = document.createElement("li");
  element.append(nameElement(file.name), ...beside.flatMap((node) => [" ", node]));
  return element;
}

/** @param {ManifestFile} file */
function sizeElement(file) {
  const element = document.createElement("span");
  element.className = "size";
  element.textContent = size(file.size ?? 0);
  return element;
}
