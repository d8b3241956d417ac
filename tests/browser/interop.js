// Shares sealed and opened without a line of ours: npm's and PyPI's http_ece, under keys derived from the link by hand.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash, hkdfSync, pbkdf2Sync, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";

import ece from "http_ece";

/** @typedef {{ name: string, content: Uint8Array, type?: string, kind?: string }} PlainFile */
/** @typedef {{ manifest: Uint8Array, content: Uint8Array }} Sealed the sealed manifest and the sealed content */
/** @typedef {{ files: PlainFile[], note?: string, proof: string, verifier: string }} Opened proof in base64url, verifier in hex */

const RECORD = 262_144;
const PYPI = "http_ece==1.2.1";

/** The secret of a link. @param {string} link */
const secretOf = (link) => new URL(link).hash.slice(1);

/** @param {string} secret base64url @param {string} [password] */
function derive(secret, password) {
  const bytes = Buffer.from(secret, "base64url");
  const ikm = password ? pbkdf2Sync(password.normalize("NFC"), bytes, 600_000, 16, "sha256") : bytes;
  const key = (name, length) => Buffer.from(hkdfSync("sha256", ikm, "", `onetimeshare v1 ${name}`, length));
  const proof = key("proof", 32);
  const verifier = createHash("sha256").update(proof).digest("hex");
  return { content: key("content", 16), manifest: key("manifest", 16), proof: proof.toString("base64url"), verifier };
}

/** Cuts the content into its files. */
function cut(manifest, content) {
  assert.equal(manifest.v, 1);
  let at = 0;
  const files = manifest.files.map(({ size = content.length, ...file }) => ({ ...file, content: content.subarray(at, (at += size)) }));
  assert.equal(at, content.length, "the sizes do not add up");
  return { files, note: manifest.note };
}

/** @param {PlainFile[]} files @param {string} [note] */
const manifestOf = (files, note) => ({ v: 1, files: files.map(({ content, ...file }) => ({ ...file, size: content.length })), note });
const joined = (files) => Buffer.concat(files.map(({ content }) => content));

/**
 * @param {string} link
 * @param {string | undefined} password
 * @param {Sealed} sealed
 * @returns {Opened}
 */
export function openWithNode(link, password, sealed) {
  const { content, manifest, proof, verifier } = derive(secretOf(link), password);
  const open = (bytes, key) => ece.decrypt(Buffer.from(bytes), { version: "aes128gcm", key });
  return { ...cut(JSON.parse(open(sealed.manifest, manifest).toString()), open(sealed.content, content)), proof, verifier };
}

/**
 * Claims a share, and fetches what the server has of it.
 *
 * @param {string} link
 * @param {string} [password]
 * @returns {Promise<Sealed>}
 */
export async function fetchSealed(link, password) {
  const { proof } = derive(secretOf(link), password);
  const share = new URL(link.replace("/s/", "/api/v1/shares/").replace(/#.*/, ""));
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ proof, claim: randomBytes(16).toString("base64url") });
  const claimed = await fetch(`${share}/claims`, { method: "POST", headers, body });
  assert.equal(claimed.status, 201, await claimed.clone().text());
  const { manifest } = await claimed.json();
  const read = await fetch(new URL(claimed.headers.get("location"), share));
  assert.equal(read.status, 200);
  return { manifest: new Uint8Array(Buffer.from(manifest, "base64url")), content: new Uint8Array(await read.arrayBuffer()) };
}

/**
 * @param {string} secret base64url
 * @param {string | undefined} password
 * @param {PlainFile[]} files
 * @param {string} [note]
 * @returns {Sealed & { verifier: string }}
 */
export function sealWithNode(secret, password, files, note) {
  const { content, manifest, verifier } = derive(secret, password);
  // Its own salts are random too, but Buffers out of a pool.
  const seal = (bytes, key) => new Uint8Array(ece.encrypt(bytes, { version: "aes128gcm", key, rs: RECORD, salt: randomBytes(16) }));
  const text = Buffer.from(JSON.stringify(manifestOf(files, note)));
  return { manifest: seal(text, manifest), content: seal(joined(files), content), verifier };
}

/**
 * As `openWithNode`.
 *
 * @param {string} link
 * @param {string | undefined} password
 * @param {Sealed} sealed
 * @returns {Promise<Opened>}
 */
export async function openWithPython(link, password, sealed) {
  const { manifest, content, proof, verifier } = await python({
    do: "open",
    secret: secretOf(link),
    password,
    manifest: Buffer.from(sealed.manifest).toString("base64url"),
    content: Buffer.from(sealed.content).toString("base64url"),
  });
  return { ...cut(manifest, Buffer.from(content, "base64url")), proof, verifier };
}

/**
 * As `sealWithNode`, but for content of no bytes, of which that library makes a message without a record.
 *
 * @param {string} secret
 * @param {string | undefined} password
 * @param {PlainFile[]} files
 * @param {string} [note]
 * @returns {Promise<Sealed & { verifier: string }>}
 */
export async function sealWithPython(secret, password, files, note) {
  const content = joined(files).toString("base64url");
  const told = await python({ do: "seal", secret, password, manifest: manifestOf(files, note), content });
  const bytes = (value) => new Uint8Array(Buffer.from(value, "base64url"));
  return { manifest: bytes(told.manifest), content: bytes(told.content), verifier: told.verifier };
}

async function python(asked) {
  const child = spawn(await interpreter(), [fileURLToPath(new URL("interop.py", import.meta.url))]);
  child.stdin.end(JSON.stringify(asked));
  const [told, complaint] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (!told) throw new Error(`Python failed: ${complaint}`);
  return JSON.parse(told);
}

let ready;
/** A Python that has http_ece: in an environment of its own, made where npm installs, and kept as long. */
function interpreter() {
  return (ready ??= (async () => {
    const home = fileURLToPath(new URL(`node_modules/.${PYPI}`, import.meta.url));
    const made = `${home}/bin/python`;
    if (existsSync(made)) return made;
    // Made aside and moved: another test file may be at it as well.
    const aside = await mkdtemp(`${home}-`);
    const run = promisify(execFile);
    try {
      await run("python3", ["-m", "venv", aside]);
      await run(`${aside}/bin/python`, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYPI]);
      await rename(aside, home).catch((error) => existsSync(made) || Promise.reject(error));
    } catch (cause) {
      throw new Error(`these tests need python3-venv, and pip to install ${PYPI}`, { cause });
    } finally {
      await rm(aside, { recursive: true, force: true });
    }
    return made;
  })());
}
