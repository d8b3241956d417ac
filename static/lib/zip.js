// Several files as one zip, every offset of which is known before a byte of a file is; and names that are safe to unpack.
//
// Pure: it says which bytes stand where. Stored (method 0), after PKWARE's APPNOTE 6.3.10; laid out as the server does it.

/** A 32-bit field of this value says "look into the zip64 extra field" (APPNOTE §4.4.1.4). */
const IN_ZIP64 = 0xffff_ffff;
/** The same of a 16-bit field. */
const COUNT_IN_ZIP64 = 0xffff;
/** Versions that read what is stored; what has data descriptors; and zip64 (§4.4.3.2). */
const [PLAIN, STREAMED, ZIP64] = [10, 20, 45];
/** Written by Unix, so that the external attributes are a mode (§4.4.2). */
const MADE_BY = (3 << 8) | ZIP64;
/** The name is UTF-8; a data descriptor follows the file (§4.4.4, bits 11 and 3). */
const [UTF8, DESCRIPTOR] = [1 << 11, 1 << 3];
/** 1980-01-01, the first day that DOS knows. */
const DATE = (1 << 5) | 1;
/** A regular file, `rw-r--r--`. */
const MODE = 0o100644 * 0x10000;
/** The directory is handed out in pieces of about so many bytes. */
const PIECE = 65536;

const utf8 = new TextEncoder();

/**
 * One file in the zip.
 *
 * @typedef {object} Entry
 * @property {string} name safe, and different from all others
 * @property {number} size bytes
 * @property {number} header where its local header begins
 * @property {number} crc where the four bytes of the CRC-32 in that header are
 * @property {number} data where its bytes begin
 * @property {number} [crc32] must be known when the directory is asked for
 * @property {boolean} described whether a data descriptor follows its bytes
 */

/** Where everything stands. */
export class Layout {
  /** @type {Entry[]} */
  entries = [];
  /** Where the central directory begins. */
  directory = 0;
  /** Bytes of the whole zip. */
  size = 0;

  /**
   * Use {@link layout}.
   *
   * @param {readonly { name: string, size: number, crc32?: number }[]} files
   * @param {boolean} descriptors
   */
  constructor(files, descriptors) {
    const names = uniqueNames(files.map(({ name }) => name));
    let at = 0;
    for (const [index, { size, crc32 }] of files.entries()) {
      const described = descriptors && crc32 === undefined;
      const name = names[index];
      const data = at + 30 + utf8.encode(name).length + (isBig(size) ? 20 : 0);
      this.entries.push({ name, size, header: at, crc: at + 14, data, crc32, described });
      at = data + size + (described ? (isBig(size) ? 24 : 16) : 0);
    }
    this.directory = at;
    const trailer = this.entries.reduce((end, entry) => end + centralLength(entry), at);
    this.size = trailer + this.#trailer(trailer).length;
    if (!Number.isSafeInteger(this.size)) throw new RangeError("too large for a zip");
  }

  /**
   * The local header of a file (§4.3.7). Where its CRC-32 is not known yet, zeros stand in its place.
   *
   * @param {Entry} entry
   */
  header(entry) {
    const { size, described } = entry;
    const name = utf8.encode(entry.name);
    const out = new Writer(entry.data - entry.header).u32(0x0403_4b50);
    common(out, entry, name.length, isBig(size) ? 20 : 0);
    out.bytes(name);
    if (isBig(size)) out.u16(1).u16(16).u64(described ? 0 : size).u64(described ? 0 : size);
    return out.array;
  }

  /**
   * What follows a file that is `described` (§4.3.9).
   *
   * @param {Entry} entry
   */
  descriptor({ size, crc32 }) {
    const out = new Writer(isBig(size) ? 24 : 16).u32(0x0807_4b50).u32(known(crc32));
    return (isBig(size) ? out.u64(size).u64(size) : out.u32(size).u32(size)).array;
  }

  /**
   * All that follows the last file: the central directory and its end, in pieces.
   *
   * @returns {Generator<Uint8Array<ArrayBuffer>, void>}
   */
  *tail() {
    /** @type {Uint8Array[]} */
    let pieces = [];
    let length = 0;
    let end = this.directory;
    for (const entry of this.entries) {
      const record = central(entry);
      pieces.push(record);
      length += record.length;
      end += record.length;
      if (length < PIECE) continue;
      yield joined(pieces, length);
      [pieces, length] = [[], 0];
    }
    const trailer = this.#trailer(end);
    yield joined([...pieces, trailer], length + trailer.length);
  }

  /**
   * The end of the central directory (§4.3.14 to §4.3.16).
   *
   * @param {number} at where it begins
   */
  #trailer(at) {
    const { directory, entries } = this;
    const count = Math.min(entries.length, COUNT_IN_ZIP64);
    const large = count === COUNT_IN_ZIP64 || isBig(at - directory) || isBig(directory);
    const out = new Writer(large ? 98 : 22);
    if (large) {
      // 44 bytes of this record follow; then this disk, and the directory's.
      out.u32(0x0606_4b50).u64(44).u16(MADE_BY).u16(ZIP64).u64(0);
      out.u64(entries.length).u64(entries.length).u64(at - directory).u64(directory);
      out.u32(0x0706_4b50).u32(0).u64(at).u32(1);
    }
    out.u32(0x0605_4b50).u32(0).u16(count).u16(count).u32(short(at - directory)).u32(short(directory)).u16(0);
    return out.array;
  }
}

/**
 * Lays out `files` in their order, under names made safe and told apart.
 *
 * To a file that can be written anywhere, a CRC-32 goes later, to `entry.crc`, little-endian. For a stream, ask for
 * `descriptors`: files whose CRC-32 is not known have it behind them.
 *
 * @param {readonly { name: string, size: number, crc32?: number }[]} files
 * @param {{ descriptors?: boolean }} [options]
 */
export function layout(files, { descriptors = false } = {}) {
  return new Layout(files, descriptors);
}

/** @param {number} value */
const isBig = (value) => value >= IN_ZIP64;
/** The 32-bit field for `value`. @param {number} value */
const short = (value) => Math.min(value, IN_ZIP64);

/** @param {number | undefined} crc32 */
function known(crc32) {
  if (crc32 === undefined) throw new Error("the CRC-32 of a file is not known yet");
  return crc32;
}

/** Bytes behind the name in a record of the central directory. @param {Entry} entry */
function extraLength({ size, header }) {
  const length = (isBig(size) ? 16 : 0) + (isBig(header) ? 8 : 0);
  return length && length + 4;
}

/** @param {Entry} entry */
const centralLength = (entry) => 46 + (entry.data - entry.header - 30 - (isBig(entry.size) ? 20 : 0)) + extraLength(entry);

/** The record of the central directory (§4.3.12). @param {Entry} entry */
function central(entry) {
  const { size, header } = entry;
  const name = utf8.encode(entry.name);
  const extra = extraLength(entry);
  const out = new Writer(46 + name.length + extra).u32(0x0201_4b50).u16(MADE_BY);
  common(out, { ...entry, crc32: known(entry.crc32) }, name.length, extra, true);
  // No comment, the first disk, no internal attributes.
  out.u16(0).u16(0).u16(0).u32(MODE).u32(short(header)).bytes(name);
  if (extra) out.u16(1).u16(extra - 4);
  if (isBig(size)) out.u64(size).u64(size);
  if (isBig(header)) out.u64(header);
  return out.array;
}

/**
 * The fields that both headers have in common.
 *
 * @param {Writer} out
 * @param {Entry} entry
 * @param {number} name length of the name
 * @param {number} extra length of the extra field
 * @param {boolean} [told] whether it says what else a data descriptor does
 */
function common(out, { size, crc32 = 0, described }, name, extra, told = !described) {
  const told32 = told || isBig(size) ? short(size) : 0;
  out.u16(extra ? ZIP64 : described ? STREAMED : PLAIN).u16(UTF8 | (described ? DESCRIPTOR : 0));
  // Stored; at midnight.
  out.u16(0).u16(0).u16(DATE).u32(told ? crc32 : 0);
  out.u32(told32).u32(told32).u16(name).u16(extra);
}

/** Writes little-endian fields one behind the other. */
class Writer {
  #at = 0;

  /** @param {number} length */
  constructor(length) {
    this.array = new Uint8Array(length);
    this.view = new DataView(this.array.buffer);
  }
  /** @param {number} value */
  u16(value) {
    this.view.setUint16(this.#at, value, true);
    this.#at += 2;
    return this;
  }
  /** @param {number} value */
  u32(value) {
    this.view.setUint32(this.#at, value, true);
    this.#at += 4;
    return this;
  }
  /** @param {number} value */
  u64(value) {
    this.view.setBigUint64(this.#at, BigInt(value), true);
    this.#at += 8;
    return this;
  }
  /** @param {Uint8Array} bytes */
  bytes(bytes) {
    this.array.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }
}

/** @param {Uint8Array[]} pieces @param {number} length */
function joined(pieces, length) {
  const out = new Writer(length);
  for (const piece of pieces) out.bytes(piece);
  return out.array;
}

// CRC-32, sixteen bytes at a time: table k advances a byte over k zero bytes ("slicing-by-16").

const TABLES = new Int32Array(16 * 256);
for (let byte = 0; byte < 256; byte += 1) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  TABLES[byte] = crc;
}
for (let at = 256; at < TABLES.length; at += 1) {
  TABLES[at] = (TABLES[at - 256] >>> 8) ^ TABLES[TABLES[at - 256] & 255];
}

/**
 * CRC-32 of `bytes`, or of more bytes of which `previous` is that of the ones before.
 *
 * @param {Uint8Array} bytes
 * @param {number} [previous]
 */
export function crc32(bytes, previous = 0) {
  const T = TABLES;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const whole = bytes.length - (bytes.length % 16);
  let crc = ~previous;
  let at = 0;
  for (; at < whole; at += 16) {
    const b = view.getInt32(at + 4, true);
    const c = view.getInt32(at + 8, true);
    const d = view.getInt32(at + 12, true);
    // What does not wait for the last step comes first.
    const rest =
      (T[2816 + (b & 255)] ^ T[2560 + ((b >>> 8) & 255)] ^ T[2304 + ((b >>> 16) & 255)] ^ T[2048 + (b >>> 24)]) ^
      (T[1792 + (c & 255)] ^ T[1536 + ((c >>> 8) & 255)] ^ T[1280 + ((c >>> 16) & 255)] ^ T[1024 + (c >>> 24)]) ^
      (T[768 + (d & 255)] ^ T[512 + ((d >>> 8) & 255)] ^ T[256 + ((d >>> 16) & 255)] ^ T[d >>> 24]);
    const a = view.getInt32(at, true) ^ crc;
    crc = rest ^ (T[3840 + (a & 255)] ^ T[3584 + ((a >>> 8) & 255)] ^ T[3328 + ((a >>> 16) & 255)] ^ T[3072 + (a >>> 24)]);
  }
  for (; at < bytes.length; at += 1) crc = (crc >>> 8) ^ T[(crc ^ view.getUint8(at)) & 255];
  return ~crc >>> 0;
}

// Names: they come from whoever sealed the manifest. What leaves here is harmless to write on any system.

/** Bytes that common file systems allow a name. */
const SEGMENT_MAX = 255;
/** Bytes that Linux allows a path; outer folders beyond fall away. */
const PATH_MAX = 4096;
/** A longer extension is none worth keeping. */
const EXTENSION_MAX = 32;
/** More than there can be files. */
const NUMBER_MAX = 999_999_999;
/** Controls, what Windows reserves, and what turns the direction of text or breaks its line unseen. */
const FORBIDDEN = /[\p{Cc}<>:"|?*\u2028-\u202e\u2066-\u2069]/gu;
/** What Windows takes for a device, whatever its extension. */
const DEVICE = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\.|$)/i;

/**
 * A relative path with `/` between its folders, that stays where it is unpacked and shows what it is.
 *
 * `\` separates too; empty, `.` and `..` segments are left out; what a system forbids or a screen hides becomes `_`. Each
 * segment has at most 255 bytes, the whole 4096. Never empty.
 *
 * @param {string} name
 */
export function safeName(name) {
  const segments = name.split(/[/\\]/).filter((segment) => !["", ".", ".."].includes(segment));
  const safe = segments.map(safeSegment);
  let length = -1;
  let first = safe.length;
  while (first > 0) {
    length += byteLength(safe[first - 1]) + 1;
    if (length > PATH_MAX) break;
    first -= 1;
  }
  return safe.slice(first).join("/") || "file";
}

/**
 * The safe name's last segment: a name for a single file.
 *
 * @param {string} name
 */
export function fileName(name) {
  return /** @type {string} */ (safeName(name).split("/").at(-1));
}

/**
 * Safe names told apart: the second `a.txt` becomes `a (2).txt`.
 *
 * Names that differ only in case or in Unicode form count as one, as on Windows and macOS; so does a file with the name
 * of another's folder. Takes time n log n, whatever the names.
 *
 * @param {readonly string[]} names
 */
export function uniqueNames(names) {
  const paths = names.map(safeName);
  const all = paths.map(folded).sort();
  /** @param {string} key */
  const isFolder = (key) => {
    const inside = `${key}/`;
    let [low, high] = [0, all.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (all[middle] < inside) low = middle + 1;
      else high = middle;
    }
    return all[low]?.startsWith(inside);
  };
  // The last number of all that may come to the same name, also of those that only are the same once they are cut.
  /** @type {Map<string, number>} */
  const numbers = new Map();
  const given = new Set();
  return paths.map((path) => {
    const alike = folded(numbered(path, NUMBER_MAX));
    let [candidate, key, number] = [path, folded(path), numbers.get(alike) ?? 1];
    while (given.has(key) || isFolder(key)) {
      candidate = numbered(path, (number += 1));
      key = folded(candidate);
    }
    numbers.set(alike, number);
    given.add(key);
    return candidate;
  });
}

/** @param {string} raw */
function safeSegment(raw) {
  const name = raw.replace(/\p{Surrogate}/gu, "\ufffd").replace(FORBIDDEN, "_");
  // Windows drops dots and spaces at the end, and then finds another file or none.
  return cut(DEVICE.test(name) ? `_${name}` : name, "").replace(/[. ]+$/, (end) => "_".repeat(end.length));
}

/**
 * `segment` with `suffix` before its extension, its stem cut so that all have room.
 *
 * @param {string} segment
 * @param {string} suffix
 */
function cut(segment, suffix) {
  const dot = segment.lastIndexOf(".");
  const extension = dot > 0 && byteLength(segment.slice(dot)) <= EXTENSION_MAX ? segment.slice(dot) : "";
  const stem = segment.slice(0, segment.length - extension.length);
  const room = new Uint8Array(SEGMENT_MAX - byteLength(suffix + extension));
  return stem.slice(0, utf8.encodeInto(stem, room).read) + suffix + extension;
}

/** @param {string} path @param {number} number */
function numbered(path, number) {
  const slash = path.lastIndexOf("/") + 1;
  return path.slice(0, slash) + cut(path.slice(slash), ` (${number})`);
}

/** The same for all names that some system takes for the same. @param {string} path */
const folded = (path) => path.normalize("NFC").toLowerCase();
/** @param {string} text */
const byteLength = (text) => utf8.encode(text).length;
