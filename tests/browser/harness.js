// A real server on a real store, and a browser that watches what its pages do.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const binary = resolve(repository, process.env.ONETIMESHARE_BIN || "target/debug/onetimeshare");

/** The Content-Security-Policy of every page, word for word. */
export const PAGE_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
  "worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
  "require-trusted-types-for 'script'; trusted-types onetimeshare";

/**
 * What a test is given.
 *
 * @typedef {object} Scene
 * @property {import("playwright-core").Page} page a page without JavaScript, watched
 * @property {string} server the server's address, without a closing slash
 * @property {string} folder an empty folder
 * @property {Watch} watch what the page asked for and complained about
 * @property {(options?: import("playwright-core").BrowserContextOptions) => Promise<import("playwright-core").Page>} open
 *   opens a page of its own context, watched as well
 */

/**
 * Makes a suite for each store: with the embedded one, and with Redis.
 *
 * @param {string} what
 * @param {(test: (name: string, body: (scene: Scene) => Promise<void>) => void, store: "embedded" | "Redis") => void} tests
 */
export function onBothStores(what, tests) {
  for (const store of /** @type {const} */ (["embedded", "Redis"])) {
    describe(`${what}, ${store}`, () => {
      /** @type {{ address: string, stop: () => Promise<void> }} */
      let server;
      /** @type {import("playwright-core").Browser} */
      let browser;
      before(async () => {
        server = await startServer(store);
        browser = await startBrowser();
      });
      after(async () => {
        await browser?.close();
        await server?.stop();
      });
      const test = (name, body) =>
        it(name, { timeout: 120_000 }, async () => {
          const folder = await mkdtemp(join(tmpdir(), "onetimeshare-test-"));
          const watch = new Watch(server.address);
          const contexts = [];
          const open = async (options = {}) => {
            const context = await browser.newContext({ javaScriptEnabled: false, locale: "en-GB", ...options });
            contexts.push(context);
            watch.over(context);
            return context.newPage();
          };
          try {
            await body({ page: await open(), server: server.address, folder, watch, open });
            await watch.settle();
          } finally {
            await Promise.all(contexts.map((context) => context.close()));
            await rm(folder, { recursive: true });
          }
        });
      tests(test, store);
    });
  }
}

/** Sees every request, every page's headers and every complaint of the browser, in all contexts of one test. */
export class Watch {
  /** @param {string} server */
  constructor(server) {
    this.server = server;
    /** Requests that left the server's origin. */
    this.foreign = [];
    /** Errors and warnings of the console: violations of the Content-Security-Policy, missing files, scripts that failed. */
    this.complaints = [];
    /** Addresses of pages, as opposed to what pages load. */
    this.documents = new Set();
    /** Pages that came with another Content-Security-Policy. */
    this.unprotected = [];
    this.pages = 0;
    this.answers = [];
  }

  /** @param {import("playwright-core").BrowserContext} context */
  over(context) {
    context.on("request", (request) => {
      const url = new URL(request.url());
      if (url.origin !== this.server && url.protocol !== "data:") this.foreign.push(request.url());
    });
    context.on("response", (response) => this.answers.push(this.look(response)));
    context.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      this.complaints.push({ text: message.text(), url: message.location().url });
    });
    context.on("weberror", (error) => this.complaints.push({ text: String(error.error()), url: "" }));
  }

  /** @param {import("playwright-core").Response} response */
  async look(response) {
    if (response.request().isNavigationRequest()) this.documents.add(response.url());
    const headers = await response.allHeaders();
    if (!headers["content-type"]?.startsWith("text/html")) return;
    this.pages += 1;
    if (headers["content-security-policy"] !== PAGE_CSP) this.unprotected.push(response.url());
  }

  /** Fails where anything was wrong. */
  async settle() {
    await Promise.all(this.answers);
    // Chromium for Linux can't share, and says so of every page that names web-share.
    const known = "Error with Permissions-Policy header: Unrecognized feature: 'web-share'.";
    // That a page came with an error status is for the test to judge, and no complaint.
    const complaints = this.complaints.filter(
      ({ text, url }) =>
        text !== known && !(text.startsWith("Failed to load resource: the server responded") && this.documents.has(url)),
    );
    assert.deepEqual(this.foreign, [], "requests to others");
    assert.deepEqual(complaints, [], "complaints of the browser");
    assert.deepEqual(this.unprotected, [], "pages with another Content-Security-Policy");
    assert.ok(this.pages > 0, "no page was seen");
  }
}

async function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-background-networking"],
  });
}

/** @param {"embedded" | "Redis"} store */
async function startServer(store) {
  const folder = await mkdtemp(join(tmpdir(), "onetimeshare-test-"));
  const settings = ["--listen", "127.0.0.1:0", "--data-dir", join(folder, "data")];
  const redis = store === "Redis" ? await startRedis(folder) : null;
  if (redis) settings.push("--redis-url", redis.url);
  const server = spawn(binary, ["serve", ...settings], { env: { PATH: process.env.PATH }, stdio: ["ignore", "pipe", "pipe"] });
  const log = gather(server);
  const stop = async () => {
    await end(server);
    if (redis) await end(redis.process);
    await rm(folder, { recursive: true });
  };
  const address = await Promise.race([announced(server.stdout), ended(server)]);
  if (address) return { address, stop };
  await stop();
  throw new Error(`${binary} did not start: ${log()}`);
}

/** The address that the first line names. */
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

/** Reads what a process writes, so that its pipes never fill. */
function gather(child) {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (text += piece));
  return () => text;
}

function ended(child) {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve(null)
    : new Promise((resolve) => child.once("exit", () => resolve(null)).once("error", () => resolve(null)));
}

async function end(child) {
  const gone = ended(child);
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await gone;
  clearTimeout(late);
}

/**
 * Sends without a browser, where sending is not what is tested.
 *
 * @param {string} server
 * @param {[string, string | Buffer][]} files name and content
 * @param {Record<string, string>} [fields]
 * @returns {Promise<{ id: string, link: string, plain_link: string, receipt: string, owner_token: string }>}
 */
export async function sent(server, files, fields = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const [name, content] of files) form.append("file", new Blob([content]), name);
  const answer = await fetch(`${server}/`, { method: "POST", body: form, headers: { accept: "application/json" } });
  assert.equal(answer.status, 201, await answer.clone().text());
  return answer.json();
}

/** Presses the button, and waits for the file; gives its name and where it lies. */
export async function download(page, press = () => page.getByRole("button", { name: "Download" }).click()) {
  const [file] = await Promise.all([page.waitForEvent("download"), press()]);
  return { name: file.suggestedFilename(), path: await file.path(), address: file.url() };
}

/** @param {string} path */
export async function sha256(path) {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest("hex");
}

/** The stamp of a receipt: the share's state, as its sender reads it. */
export async function stamp(page, receipt) {
  await page.goto(receipt);
  return page.locator("#state").innerText();
}
