// Where a download may go in this browser, and how a finished file gets to its user.

import { get, stagedFolder } from "./remember.js";
import { plainLength } from "./seal.js";
import { serviceWorker } from "./service.js";
import { fileName, layout } from "./zip.js";

const MIB = 2 ** 20;
/** Larger files need a place on disk. */
const MEMORY = 256 * MIB;
/** How long the browser may take to begin reading a file that it was handed. Milliseconds. */
const READING = 10 * 60_000;

/**
 * @typedef {object} Plan
 * @property {"staged" | "picker" | "stream" | "memory" | "none"} kind staged: in the origin's private file system, survives
 *   a reload; picker: into a file that the user chooses; stream: as the browser's own download; none: it does not fit
 * @property {() => Promise<void>} [choose] picker: asks for the file; call it in the click. Rejects with an `AbortError` where
 *   the user thinks better of it
 * @property {FileSystemFileHandle} [handle] picker: the file, once it is chosen
 */

/**
 * How the finished file will be called: one file by its own name, several as a zip.
 *
 * @param {string} id
 * @param {import("./seal.js").Manifest} manifest
 */
export const nameOf = (id, manifest) =>
  manifest.files.length === 1 ? fileName(manifest.files[0].name) : `onetimeshare-${id.slice(0, 8)}.zip`;

/**
 * Files of several have their sizes: the manifest was checked.
 *
 * @param {import("./seal.js").Manifest} manifest
 */
export const sized = ({ files }) => files.map(({ name, size = 0, crc32 }) => ({ name, size, crc32 }));

/**
 * Where a share would go. Consumes nothing.
 *
 * @param {import("./seal.js").Manifest} manifest
 * @param {number} size bytes of sealed content
 * @param {string} id of the share: what is staged of it already is gone on with there
 * @returns {Promise<Plan>}
 */
export async function plan(manifest, size, id) {
  const plain = plainLength(size) ?? 0;
  const length = manifest.files.length === 1 ? plain : layout(sized(manifest)).size;
  const isText = manifest.files[0].kind === "text";
  if ((await isStaged(id)) || (await hasRoom(length))) return { kind: "staged" };
  if (isText && length <= MEMORY) return { kind: "memory" };
  if ("showSaveFilePicker" in globalThis) return picker(nameOf(id, manifest));
  if (await canStream()) return { kind: "stream" };
  return { kind: length <= MEMORY ? "memory" : "none" };
}

/**
 * Whether this browser has staged a share, or some of it.
 *
 * @param {string} id
 */
export async function isStaged(id) {
  const record = await get("claims", id).catch(() => undefined);
  if (!record?.staged || record.state !== "granted") return Boolean(record?.staged);
  if (!record.progress) return false;
  // The browser may have needed the room.
  return stagedFolder()
    .then((folder) => folder.getFileHandle(id))
    .then(() => true)
    .catch(() => false);
}

/** Whether the origin's private file system takes so many bytes more. @param {number} length */
async function hasRoom(length) {
  try {
    await navigator.storage.getDirectory();
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    return quota - usage > length * 1.02 + 16 * MIB;
  } catch {
    // Missing, or barred in private windows.
    return false;
  }
}

/** @param {string} suggestedName @returns {Plan} */
function picker(suggestedName) {
  /** @type {Plan} */
  const plan = { kind: "picker" };
  plan.choose = async () => {
    plan.handle = await /** @type {any} */ (globalThis).showSaveFilePicker({ suggestedName });
  };
  return plan;
}

const canStream = () =>
  serviceWorker("/save/").then(
    () => true,
    () => false,
  );

/**
 * Saves `blob` under `name`, as a link with `download` does.
 *
 * @param {Blob} blob
 * @param {string} name
 */
export function handOver(blob, name) {
  // A type could make a browser show it instead.
  const address = URL.createObjectURL(blob.slice(0, blob.size, "application/octet-stream"));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), READING);
}
