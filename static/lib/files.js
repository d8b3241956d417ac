// Files and folders out of a drop, an input or the clipboard, under the names that their recipient will see.

/** @typedef {import("./upload.js").Source} Source */

/**
 * What was found: the files, the folders that hold none, and what could not be read.
 *
 * @typedef {{ sources: Source[], empty: string[], unreadable: string[] }} Found
 */

/** How browsers name a picture that lies in the clipboard only. */
const PICTURE = "image.png";

/**
 * A name as manifests have it: composed, as most systems but macOS write it, so that one name is one string.
 *
 * @param {string} name with its folders
 */
const named = (name) => name.normalize("NFC");

/**
 * @param {File} file
 * @param {string} [name] with its folders
 * @param {FileSystemFileHandle} [handle]
 * @returns {Source}
 */
const onDisk = (file, name = file.webkitRelativePath || file.name, handle) =>
  ({ file, name: named(name), type: file.type, fromDisk: true, handle });

/**
 * The files of a file input.
 *
 * @param {HTMLInputElement} input
 * @returns {Source[]}
 */
export const ofInput = (input) => [...(input.files ?? [])].map((file) => onDisk(file));

/**
 * Has the browser ask for files, or for a folder. Call it on a click.
 *
 * @param {boolean} folder
 * @param {(sources: Source[]) => void} take
 */
export function choose(folder, take) {
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  input.webkitdirectory = folder;
  input.hidden = true;
  input.addEventListener("cancel", () => input.remove());
  input.addEventListener("change", () => {
    input.remove();
    take(ofInput(input));
  });
  // Some browsers forget an input that is in no page.
  document.body.append(input);
  input.click();
}

/**
 * A file that lies on no disk, such as a text or what another app shared.
 *
 * @param {Blob} file
 * @param {string} name
 * @returns {Source}
 */
export const ofBlob = (file, name) => ({ file, name: named(name), type: file.type, fromDisk: false });

/**
 * The files in the clipboard. They may lie on a disk, or in the clipboard only.
 *
 * @param {DataTransfer | null} clipboard
 * @returns {Source[]}
 */
export const ofClipboard = (clipboard) =>
  [...(clipboard?.files ?? [])].map((file) => (file.name === PICTURE ? ofBlob(file, file.name) : onDisk(file)));

/**
 * The files and folders of a drop, each file under its path from there. Call it while the drop's event is handled: later the
 * browser has taken its contents back.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<Found>}
 */
export async function ofDrop(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file").map(grasp);
  /** @type {Found} */
  const found = { sources: [], empty: [], unreadable: [] };
  for (const { handle, entry, file } of items) {
    const known = await handle;
    if (known) await walk(known, known.name, found);
    else if (entry) await walkEntry(entry, found);
    else if (file) found.sources.push(onDisk(file));
  }
  return found;
}

/**
 * All that browsers offer for one item. A handle can be kept, and opened again after a reload; an entry knows folders too.
 *
 * @param {DataTransferItem} item
 * @returns {{ handle: Promise<FileSystemHandle | null> | undefined, entry: FileSystemEntry | null, file: File | null }}
 */
function grasp(item) {
  // Not in every browser; null or refused for what lies on no disk, or where the browser rather keeps it to itself.
  const handle = /** @type {any} */ (item).getAsFileSystemHandle?.().catch(() => null);
  return { handle, entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() };
}

/**
 * @param {FileSystemHandle} handle
 * @param {string} path
 * @param {Found} found
 */
async function walk(handle, path, found) {
  try {
    if (handle.kind === "file") {
      const fileHandle = /** @type {FileSystemFileHandle} */ (handle);
      found.sources.push(onDisk(await fileHandle.getFile(), path, fileHandle));
      return;
    }
    /** @type {FileSystemHandle[]} */
    const children = [];
    for await (const child of /** @type {any} */ (handle).values()) children.push(child);
    if (children.length === 0) found.empty.push(named(path));
    for (const child of children.sort(byName)) await walk(child, `${path}/${child.name}`, found);
  } catch {
    found.unreadable.push(named(path));
  }
}

/**
 * @param {FileSystemEntry} entry
 * @param {Found} found
 */
async function walkEntry(entry, found) {
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) {
      /** @type {File} */
      const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
      found.sources.push(onDisk(file, path));
      return;
    }
    const children = await entriesOf(/** @type {FileSystemDirectoryEntry} */ (entry));
    if (children.length === 0) found.empty.push(named(path));
    for (const child of children.sort(byName)) await walkEntry(child, found);
  } catch {
    found.unreadable.push(named(path));
  }
}

/**
 * @param {FileSystemDirectoryEntry} folder
 * @returns {Promise<FileSystemEntry[]>}
 */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    // Browsers give a hundred at a time, and none at the end.
    if (some.length === 0) return entries;
    entries.push(...some);
  }
}

/**
 * As people count: `IMG_9` before `IMG_10`.
 *
 * @param {{ name: string }} a
 * @param {{ name: string }} b
 */
const byName = (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });

/**
 * `name`, or where that is taken the first of `name (2)`, `name (3)`, … that is not; the number stands before the extension.
 *
 * @param {string} name with its folders
 * @param {Set<string>} taken
 */
export function free(name, taken) {
  const [, stem, extension] = /** @type {RegExpExecArray} */ (/^(.*?[^/])((?:\.[^./]+)?)$/s.exec(name) ?? [name, name, ""]);
  let candidate = name;
  for (let number = 2; taken.has(candidate); number += 1) candidate = `${stem} (${number})${extension}`;
  return candidate;
}
