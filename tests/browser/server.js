// The real server on a real store, as one process or two that tests may end as they like.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** The program that is tested. */
export const binary = resolve(repository, process.env.ONETIMESHARE_BIN || "target/debug/onetimeshare");

/** @typedef {"embedded" | "Redis"} Store */
/** @typedef {import("node:child_process").ChildProcessByStdio<null, import("node:stream").Readable, import("node:stream").Readable>} Child */

/** One server, at the same address and with the same store whatever happens to its process. */
export class Server {
  /** Without a closing slash; empty before the first start. */
  address = "";
  /** @type {Child | null} */
  process = null;
  /** What all its processes wrote. */
  log = "";

  /**
   * @param {string} folder
   * @param {string[]} settings
   * @param {Child | null} redis
   */
  constructor(folder, settings, redis) {
    this.folder = folder;
    this.settings = settings;
    this.redis = redis;
  }

  /**
   * @param {Store} store
   * @param {string[]} [settings] more of the command line
   */
  static async on(store, settings = []) {
    const folder = await mkdtemp(join(tmpdir(), "onetimeshare-test-"));
    const redis = store === "Redis" ? await startRedis(folder) : null;
    if (redis) settings = ["--redis-url", redis.url, ...settings];
    const server = new Server(folder, ["--data-dir", join(folder, "data"), ...settings], redis?.process ?? null);
    try {
      await server.start();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** Starts the process that was ended: at the address that it had. */
  async start() {
    const listen = this.address ? new URL(this.address).host : "127.0.0.1:0";
    const words = ["serve", "--listen", listen, ...this.settings];
    this.process = spawn(binary, words, { env: { PATH: process.env.PATH }, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (piece) => (this.log += piece));
    const address = await Promise.race([announced(this.process.stdout), ended(this.process)]);
    if (!address) throw new Error(`${binary} did not start: ${this.log}`);
    this.address = address;
  }

  /** Ends the process, and leaves its store. @param {NodeJS.Signals} signal */
  async end(signal = "SIGKILL") {
    if (this.process) await end(this.process, signal);
  }

  /** Ends the process and starts it again. @param {NodeJS.Signals} signal */
  async restart(signal = "SIGKILL") {
    await this.end(signal);
    await this.start();
  }

  async stop() {
    await this.end("SIGTERM");
    if (this.redis) await end(this.redis, "SIGTERM");
    await rm(this.folder, { recursive: true });
  }
}

/** The address that the first line names. @param {import("node:stream").Readable} stdout @returns {Promise<string>} */
function announced(stdout) {
  return new Promise((resolve, reject) => {
    let text = "";
    stdout.on("data", (piece) => {
      text += piece;
      if (!text.includes("\n")) return;
      const address = /^listening on (http:\/\/.*)\n/.exec(text)?.[1];
      address ? resolve(address) : reject(new Error(`no address in ${text}`));
    });
  });
}

/** @param {string} folder */
async function startRedis(folder) {
  const port = await freePort();
  const settings = { port, bind: "127.0.0.1", dir: folder, save: "", appendonly: "no" };
  const words = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const redis = spawn("redis-server", words, { stdio: ["ignore", "pipe", "pipe"] });
  const log = gather(redis);
  while (!log().includes("Ready to accept connections")) {
    assert.equal(redis.exitCode, null, `redis-server did not start: ${log()}`);
    await pause(20);
  }
  return { url: `redis://127.0.0.1:${port}`, process: redis };
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (probe.address());
      probe.close(() => resolve(port));
    });
  });
}

/** Reads what a process writes, so that its pipes never fill. @param {Child} child */
function gather(child) {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (text += piece));
  return () => text;
}

/** @param {Child} child @returns {Promise<null>} */
function ended(child) {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve(null)
    : new Promise((resolve) => child.once("exit", () => resolve(null)).once("error", () => resolve(null)));
}

/** @param {Child} child @param {NodeJS.Signals} signal */
async function end(child, signal) {
  const gone = ended(child);
  child.kill(signal);
  const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await gone;
  clearTimeout(late);
}
