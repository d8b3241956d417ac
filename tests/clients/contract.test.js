// The server against the openapi.yaml that it serves, by schemathesis.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { it } from "node:test";
import { fileURLToPath } from "node:url";

import { deriveKeys, encode } from "../../static/lib/seal.js";
import { Server } from "../browser/server.js";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const token = () => randomBytes(16).toString("base64url");
/** Longer than the example of a Range in the document. */
const LENGTH = 600_000;
/** Seconds. The same cases come every time, as many as there is time for. */
const TIME = 40;

/** A share that was claimed once of many times. @param {string} server @param {string} claim */
async function share(server, claim) {
  const headers = { accept: "application/json" };
  const sent = await fetch(`${server}/a.bin?downloads=100`, { method: "PUT", headers, body: randomBytes(LENGTH) });
  const { id, plain_link, owner_token: owner } = await sent.json();
  const secret = plain_link.split("/").at(-1);
  const { proof } = await deriveKeys(new Uint8Array(Buffer.from(secret, "base64url")));
  const claimed = await fetch(plain_link, { method: "POST", body: new URLSearchParams({ claim }), redirect: "manual" });
  assert.equal(claimed.status, 303);
  return { id, owner, secret, proof: encode(proof) };
}

/** An upload of which nothing came yet. @param {string} server */
async function upload(server) {
  const said = { manifest: 100, verifier: "0".repeat(64), expires_in: 3600, downloads: 1 };
  const metadata = Object.entries(said).map(([key, value]) => `${key} ${btoa(String(value))}`).join(",");
  const headers = { "tus-resumable": "1.0.0", "upload-length": "1000000", "upload-metadata": metadata };
  const created = await fetch(`${server}/api/v1/uploads`, { method: "POST", headers });
  const [uploading, upload] = created.headers.get("location").split("/").slice(-2);
  return { uploading, upload, metadata };
}

it("answers as openapi.yaml says", { timeout: 300_000 }, async () => {
  const server = await Server.on("embedded");
  const folder = await mkdtemp(join(tmpdir(), "onetimeshare-contract-"));
  try {
    const claim = token();
    const { id: ending, owner: endingOwner } = await share(server.address, claim);
    const there = { ...(await share(server.address, claim)), claim, ending, endingOwner, ...(await upload(server.address)) };
    const settings = await readFile(path("schemathesis.toml"), "utf8");
    await writeFile(join(folder, "schemathesis.toml"), settings.replace(/\$\{(\w+)\}/g, (_, name) => there[name]));

    const words = ["run", `${server.address}/api/v1/openapi.yaml`, "--max-time", `${TIME}`, "--generation-deterministic", "--no-color"];
    const env = { ...process.env, SCHEMATHESIS_HOOKS: path("hooks.py"), PYTHONDONTWRITEBYTECODE: "1" };
    const st = spawn(path("../../target/clients-python/bin/st"), words, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    const [told, complaint, [code]] = await Promise.all([text(st.stdout), text(st.stderr), ended(st)]);
    assert.equal(code, 0, told + complaint);
    assert.match(told, /Selected: +(\d+)\/\1\n +Tested: +\1\n/, told);
  } finally {
    await server.stop();
    await rm(folder, { recursive: true });
  }
});

/** @param {import("node:child_process").ChildProcess} child */
const ended = (child) => new Promise((resolve, reject) => child.once("error", reject).once("exit", (...how) => resolve(how)));
