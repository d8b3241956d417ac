// Sealing, format v1: RFC 8188 `aes128gcm` records under keys that only the link opens.
//
// Pure: bytes in, bytes out. It knows neither page nor network, and runs in pages, workers and Node alike.

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** Bytes of a sealed record: `rs` of RFC 8188 §2.1. */
export const RECORD = 262144;
/** Plain bytes of a full record: less delimiter and tag. */
export const PLAIN = 262127;
/** Bytes of the header: salt, `rs`, and an empty keyid. */
export const HEADER = 21;
/** The sealed manifest is at most 1 MiB. */
export const MANIFEST_MAX = 1 << 20;

const OVERHEAD = RECORD - PLAIN;
/** Ends every record but the last (RFC 8188 §2). */
const MORE = 1;
/** Ends the last record. */
const LAST = 2;
/** As the server's and the command line's. */
const ITERATIONS = 600_000;

const subtle = globalThis.crypto?.subtle;
const utf8 = new TextEncoder();

/** Sealed bytes that are not what their sender sealed, or not under this key. */
export class CorruptError extends Error {
  name = "CorruptError";
  /** For the words that people read. */
  code = "corrupt";
}

/** A manifest that can't be used, though it is its sender's. */
export class ManifestError extends Error {
  name = "ManifestError";

  /**
   * @param {"not_a_manifest" | "unknown_version" | "wrong_length" | "manifest_too_long"} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * Sealed bytes that `plain` bytes become.
 *
 * @param {number} plain
 */
export function sealedLength(plain) {
  return HEADER + plain + OVERHEAD * Math.max(1, Math.ceil(plain / PLAIN));
}

/**
 * Plain bytes in `sealed` bytes; null where no message has that length.
 *
 * @param {number} sealed
 */
export function plainLength(sealed) {
  const body = sealed - HEADER;
  const plain = body - OVERHEAD * Math.max(1, Math.ceil(body / RECORD));
  return Number.isSafeInteger(sealed) && plain >= 0 && sealedLength(plain) === sealed ? plain : null;
}

/**
 * Base64url without padding.
 *
 * @param {Uint8Array} bytes
 */
export function encode(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/**
 * @param {string} text
 * @returns {Bytes}
 * @throws {SyntaxError} where `text` is not what `encode` gives for any bytes
 */
export function decode(text) {
  // The last character of a group of two or three carries four or two bits that no byte takes: they are zero.
  if (!/^(?:[\w-]{4})*(?:[\w-][AQgw]|[\w-]{2}[AEIMQUYcgkosw048])?$/.test(text)) {
    throw new SyntaxError("not base64url without padding");
  }
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
}

/** A secret, token or salt: 16 random bytes. */
export function randomToken() {
  return crypto.getRandomValues(new Uint8Array(16));
}

/**
 * @typedef {object} Keys
 * @property {Bytes} content key material of the content's message
 * @property {Bytes} manifest key material of the manifest's
 * @property {Bytes} proof
 * @property {string} verifier its SHA-256, in hex
 */

/**
 * The keys that a link opens. With a password it takes a core for some tenths of a second.
 *
 * @param {Bytes} secret 16 bytes
 * @param {string} [password] undefined or empty: none
 * @returns {Promise<Keys>}
 */
export async function deriveKeys(secret, password) {
  if (secret.length !== 16) throw new RangeError("a secret has 16 bytes");
  const material = await subtle.importKey("raw", password ? await stretch(secret, password) : secret, "HKDF", false, [
    "deriveBits",
  ]);
  const salt = new Uint8Array();
  const [content, manifest, proof] = await Promise.all([
    hkdf(material, salt, "onetimeshare v1 content", 16),
    hkdf(material, salt, "onetimeshare v1 manifest", 16),
    hkdf(material, salt, "onetimeshare v1 proof", 32),
  ]);
  const verifier = new Uint8Array(await subtle.digest("SHA-256", proof));
  return { content, manifest, proof, verifier: Array.from(verifier, (b) => b.toString(16).padStart(2, "0")).join("") };
}

/**
 * @param {Bytes} secret
 * @param {string} password
 */
async function stretch(secret, password) {
  const key = await subtle.importKey("raw", utf8.encode(password.normalize("NFC")), "PBKDF2", false, ["deriveBits"]);
  return subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt: secret, iterations: ITERATIONS }, key, 128);
}

/**
 * @param {CryptoKey} material
 * @param {Bytes} salt
 * @param {string} info
 * @param {number} length bytes
 */
async function hkdf(material, salt, info, length) {
  const algorithm = { name: "HKDF", hash: "SHA-256", salt, info: utf8.encode(info) };
  return new Uint8Array(await subtle.deriveBits(algorithm, material, length * 8));
}

/** One RFC 8188 message: seals or unseals its records, in any order, any number at a time. */
export class Message {
  /** @type {CryptoKey} */ #key;
  /** @type {Bytes} */ #nonce;

  /**
   * Use {@link Message.create}.
   *
   * @param {CryptoKey} key
   * @param {Bytes} nonce
   * @param {Bytes} salt
   * @param {number} rs
   */
  constructor(key, nonce, salt, rs) {
    this.#key = key;
    this.#nonce = nonce;
    this.salt = salt;
    /** Bytes of a sealed record. */
    this.rs = rs;
  }

  /**
   * @param {Bytes} key 16 bytes of key material
   * @param {Bytes} salt 16 bytes, never used before with this key, unless for the same plain bytes
   * @param {number} [rs] for other people's messages
   */
  static async create(key, salt, rs = RECORD) {
    if (key.length !== 16 || salt.length !== 16) throw new RangeError("a key and a salt have 16 bytes each");
    const material = await subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
    const cek = await hkdf(material, salt, "Content-Encoding: aes128gcm\0", 16);
    const nonce = await hkdf(material, salt, "Content-Encoding: nonce\0", 12);
    return new Message(
      await subtle.importKey("raw", cek, "AES-GCM", false, ["encrypt", "decrypt"]),
      nonce,
      salt.slice(),
      rs,
    );
  }

  /** @returns {Bytes} */
  header() {
    const header = new Uint8Array(HEADER);
    header.set(this.salt);
    new DataView(header.buffer).setUint32(16, this.rs);
    return header;
  }

  /**
   * @param {Uint8Array} bytes a message, or its first 21 bytes
   * @returns {{ salt: Bytes }}
   * @throws {CorruptError} where they are not the header of format v1
   */
  static readHeader(bytes) {
    if (bytes.length < HEADER) throw new CorruptError("no header");
    const rs = new DataView(bytes.buffer, bytes.byteOffset).getUint32(16);
    if (rs !== RECORD || bytes[20] !== 0) throw new CorruptError(`unsupported record size ${rs}, or a keyid`);
    return { salt: bytes.slice(0, 16) };
  }

  /**
   * Seals record `index`, counted from 0.
   *
   * `plain` is read before this returns its promise, and may be changed or sent away from then on. Where its buffer has a
   * byte behind it, nothing is copied here: the delimiter stands there while `plain` is read, then what stood there
   * before. So a part is best read into one buffer with a byte to spare, and sealed as `subarray`s of it.
   *
   * @param {number} index
   * @param {Bytes | ArrayBuffer} plain as many bytes as fit, or fewer in the last record
   * @param {boolean} last
   * @returns {Promise<Bytes>} 17 bytes more, in a buffer of their own
   */
  async seal(index, plain, last) {
    const bytes = plain instanceof Uint8Array ? plain : new Uint8Array(plain);
    const room = this.rs - OVERHEAD;
    if (bytes.length > room || (!last && bytes.length !== room)) throw new RangeError("not the length of this record");
    return new Uint8Array(await this.#encrypt(index, bytes, last ? LAST : MORE));
  }

  /**
   * @param {number} index
   * @param {Bytes} bytes
   * @param {number} delimiter
   */
  #encrypt(index, bytes, delimiter) {
    const { buffer, byteOffset, length } = bytes;
    if (byteOffset + length < buffer.byteLength) {
      const padded = new Uint8Array(buffer, byteOffset, length + 1);
      const before = padded[length];
      padded[length] = delimiter;
      try {
        // `encrypt` takes its copy before it returns (Web Cryptography API §14.3.1).
        return subtle.encrypt(this.#algorithm(index), this.#key, padded);
      } finally {
        padded[length] = before;
      }
    }
    const padded = new Uint8Array(length + 1);
    padded.set(bytes);
    padded[length] = delimiter;
    return subtle.encrypt(this.#algorithm(index), this.#key, padded);
  }

  /**
   * Unseals record `index` of a message without padding, as format v1 has it.
   *
   * `sealed` is read before this returns its promise.
   *
   * @param {number} index
   * @param {Bytes} sealed
   * @param {boolean} last
   * @returns {Promise<Bytes>} the plain bytes; one byte of their buffer stands behind them
   * @throws {CorruptError}
   */
  async unseal(index, sealed, last) {
    if (sealed.length < OVERHEAD || sealed.length > this.rs || (!last && sealed.length < this.rs)) {
      throw new CorruptError("not the length of this record");
    }
    const plain = await this.#decrypt(index, sealed);
    const end = plain.length - 1;
    if (plain[end] !== (last ? LAST : MORE)) throw new CorruptError("cut off, or something follows its end");
    return plain.subarray(0, end);
  }

  /**
   * The same with padding (RFC 8188 §2).
   *
   * @param {number} index
   * @param {Bytes} sealed
   * @param {boolean} last
   */
  async unsealPadded(index, sealed, last) {
    const plain = await this.#decrypt(index, sealed);
    const end = plain.findLastIndex((byte) => byte !== 0);
    if (plain[end] !== (last ? LAST : MORE)) throw new CorruptError("cut off, or something follows its end");
    return plain.subarray(0, end);
  }

  /**
   * @param {number} index
   * @param {Bytes} sealed
   */
  async #decrypt(index, sealed) {
    try {
      return new Uint8Array(await subtle.decrypt(this.#algorithm(index), this.#key, sealed));
    } catch (cause) {
      throw new CorruptError("a record does not verify", { cause });
    }
  }

  /**
   * The nonce of a record: its number, over the end of the base (RFC 8188 §2.3).
   *
   * @param {number} index
   */
  #algorithm(index) {
    const iv = this.#nonce.slice();
    const view = new DataView(iv.buffer);
    view.setUint32(4, view.getUint32(4) ^ Math.floor(index / 2 ** 32));
    view.setUint32(8, view.getUint32(8) ^ index);
    return { name: "AES-GCM", iv };
  }
}

/**
 * Seals a short message whole.
 *
 * @param {Bytes} key
 * @param {Bytes} plain
 * @param {Bytes} [salt]
 * @returns {Promise<Bytes>}
 */
export async function sealMessage(key, plain, salt = randomToken()) {
  const message = await Message.create(key, salt);
  const sealed = new Uint8Array(sealedLength(plain.length));
  sealed.set(message.header());
  const records = Math.max(1, Math.ceil(plain.length / PLAIN));
  for (let index = 0; index < records; index += 1) {
    const record = plain.subarray(index * PLAIN, (index + 1) * PLAIN);
    sealed.set(await message.seal(index, record, index === records - 1), HEADER + index * RECORD);
  }
  return sealed;
}

/**
 * Opens a short message whole, whatever its record size, keyid and padding.
 *
 * @param {Bytes} key
 * @param {Bytes} bytes
 * @returns {Promise<Bytes>}
 * @throws {CorruptError} for every message that RFC 8188 or format v1 tells a reader to refuse
 */
export async function openMessage(key, bytes) {
  if (bytes.length < HEADER) throw new CorruptError("no header");
  const rs = new DataView(bytes.buffer, bytes.byteOffset).getUint32(16);
  const body = bytes.subarray(HEADER + (bytes[20] ?? 0));
  if (rs <= OVERHEAD) throw new CorruptError(`unsupported record size ${rs}`);
  const message = await Message.create(key, bytes.slice(0, 16), rs);
  const plain = new Uint8Array(body.length);
  let length = 0;
  const records = Math.max(1, Math.ceil(body.length / rs));
  for (let index = 0; index < records; index += 1) {
    const sealed = body.subarray(index * rs, (index + 1) * rs);
    const record = await message.unsealPadded(index, sealed, index === records - 1);
    plain.set(record, length);
    length += record.length;
  }
  return plain.subarray(0, length);
}

/**
 * What a share holds, in the order of its bytes.
 *
 * @typedef {object} ManifestFile
 * @property {string} name relative folders are kept, with `/`
 * @property {string} [type] media type
 * @property {number} [size] bytes; a share of exactly one file may leave it out
 * @property {number} [crc32] lets a zip be laid out beforehand
 * @property {string} [kind] `text`: to be shown. What is unknown is a file
 *
 * @typedef {object} Manifest
 * @property {1} v
 * @property {ManifestFile[]} files
 * @property {string} [note] the sender's, to the recipient
 */

/**
 * @param {Bytes} key
 * @param {Manifest} manifest
 * @param {Bytes} [salt]
 * @returns {Promise<Bytes>}
 * @throws {ManifestError} `manifest_too_long`, or `not_a_manifest` for what no reader would take
 */
export async function sealManifest(key, manifest, salt) {
  // A lone surrogate is no text to strict readers of JSON.
  const json = JSON.stringify(manifest, (_, value) => (typeof value === "string" ? value.replace(LONE, "\ufffd") : value));
  checkManifest(JSON.parse(json));
  const sealed = await sealMessage(key, utf8.encode(json), salt);
  if (sealed.length > MANIFEST_MAX) throw new ManifestError("manifest_too_long", "the sealed manifest passes 1 MiB");
  return sealed;
}

/**
 * Unseals a manifest; with the content's plain length it checks the sizes too, and fills in one that was left out.
 *
 * Names are as their sender wrote them: they may be hostile.
 *
 * @param {Bytes} key
 * @param {Bytes} bytes
 * @param {number} [content] plain bytes of the content
 * @returns {Promise<Manifest>}
 * @throws {CorruptError | ManifestError}
 */
export async function openManifest(key, bytes, content) {
  const plain = await openMessage(key, bytes);
  /** @type {any} */
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(plain));
  } catch {
    throw new ManifestError("not_a_manifest", "no JSON");
  }
  checkManifest(manifest);
  const { files } = manifest;
  // Some writers say null for none.
  for (const file of files) if (file.crc32 === null) delete file.crc32;
  if (content !== undefined) {
    files[0].size ??= content;
    if (files.reduce((sum, file) => sum + Number(file.size), 0) !== content) throw new ManifestError("wrong_length", "the sizes do not add up");
  }
  return manifest;
}

const LONE = /\p{Surrogate}/gu;

/**
 * @param {any} manifest
 * @returns {asserts manifest is Manifest}
 */
function checkManifest(manifest) {
  /** @param {unknown} value */
  const isText = (value) => typeof value === "string" && value.search(LONE) < 0;
  /** @param {any} value @param {number} max */
  const isNumber = (value, max) => Number.isSafeInteger(value) && value >= 0 && value <= max;
  /** @param {any} file */
  const isFile = (file) =>
    isText(file?.name) &&
    file.name !== "" &&
    isText(file.type ?? "") &&
    isText(file.kind ?? "") &&
    isNumber(file.crc32 ?? 0, 0xffff_ffff) &&
    (isNumber(file.size, Number.MAX_SAFE_INTEGER) || ((file.size ?? null) === null && manifest.files.length === 1));
  if (!Number.isSafeInteger(manifest?.v)) throw new ManifestError("not_a_manifest", "no version");
  if (manifest.v !== 1) throw new ManifestError("unknown_version", `unknown version ${manifest.v}`);
  const { files, note } = manifest;
  if (!Array.isArray(files) || !files.length || !files.every(isFile) || !isText(note ?? "")) {
    throw new ManifestError("not_a_manifest", "not the shape of a manifest");
  }
}
