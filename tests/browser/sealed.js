// Shares that Node seals and puts up: for tests of what receives them.

import assert from "node:assert/strict";

import { deriveKeys, encode, randomToken, sealManifest, sealMessage } from "../../static/lib/seal.js";

/** @typedef {{ name: string, content: Buffer, type?: string, crc32?: number, kind?: string }} SealedFile */
/** @typedef {{ id: string, secret: string, password?: string, owner: string, size: number, link: string }} SealedShare */

/** Bytes of one PATCH. */
const PART = 16 * 2 ** 20;

/**
 * Seals the files and puts them up.
 *
 * @param {string} server
 * @param {SealedFile[]} files
 * @param {{ password?: string, note?: string, downloads?: number, change?: (content: Buffer, key: Uint8Array<ArrayBuffer>) => Buffer | Promise<Buffer> }} [options]
 *   `change` makes of the sealed content what an evil sender would send
 * @returns {Promise<SealedShare>}
 */
export async function sealed(server, files, { password, note, downloads = 1, change = (content) => content } = {}) {
  const secret = randomToken();
  const keys = await deriveKeys(secret, password);
  const named = files.map(({ content, ...file }) => ({ ...file, size: content.length }));
  const manifest = await sealManifest(keys.manifest, { v: 1, files: named, note });
  const plain = Buffer.concat(files.map(({ content }) => content));
  const content = await change(Buffer.from(await sealMessage(keys.content, new Uint8Array(plain))), keys.content);
  const said = { manifest: manifest.length, verifier: keys.verifier, expires_in: 3600, downloads, ...(password && { password: 1 }) };
  const { id, owner } = await put(server, Buffer.concat([manifest, content]), said);
  const text = encode(secret);
  return { id, secret: text, password, owner, size: content.length, link: `${server}/s/${id}#${text}` };
}

/**
 * Uploads by tus.
 *
 * @param {string} server
 * @param {Buffer} bytes
 * @param {Record<string, string | number>} metadata
 */
export async function put(server, bytes, metadata) {
  const tus = { "tus-resumable": "1.0.0" };
  const pairs = Object.entries(metadata).map(([name, value]) => `${name} ${btoa(String(value))}`);
  const created = await fetch(`${server}/api/v1/uploads`, {
    method: "POST",
    headers: { ...tus, "upload-length": String(bytes.length), "upload-metadata": pairs.join(",") },
  });
  assert.equal(created.status, 201, await created.text());
  const location = new URL(created.headers.get("location"), server);
  for (let at = 0; at < bytes.length; at += PART) {
    const sent = await fetch(location, {
      method: "PATCH",
      headers: { ...tus, "upload-offset": String(at), "content-type": "application/offset+octet-stream" },
      body: new Uint8Array(bytes.subarray(at, at + PART)),
    });
    assert.equal(sent.status, 204, await sent.text());
  }
  return { id: created.headers.get("share-id"), owner: created.headers.get("owner-token") };
}
