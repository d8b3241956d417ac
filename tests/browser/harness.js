// A browser that watches what its pages do, in front of a real server on a real store.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { chromium } from "playwright-core";

import { Proxy } from "./proxy.js";
import { Server } from "./server.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").BrowserContext} BrowserContext */
/** @typedef {import("playwright-core").BrowserContextOptions} BrowserContextOptions */
/** @typedef {import("./server.js").Store} Store */

/** The Content-Security-Policy of every page, word for word. */
export const PAGE_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
  "worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
  "require-trusted-types-for 'script'; trusted-types onetimeshare";

export const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
/**
 * What each window would prepare, in a process of its own: two pop-ups of the address bar, half of a small test's time, and a page for
 * whatever comes next, a fifth of what is left.
 */
const PREPARED = ["WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess"];
/** What Playwright switches off: of two such lists only the last counts. */
const UNWANTED =
  "AvoidUnnecessaryBeforeUnloadCheckSync,BoundaryEventDispatchTracksNodeRemoval,DestroyProfileOnBrowserClose," +
  "DialMediaRouteProvider,GlobalMediaControls,HttpsUpgrades,LensOverlay,MediaRouter,PaintHolding," +
  "ThirdPartyStoragePartitioning,Translate,AutoDeElevate,RenderDocument,OptimizationHints";
const LAUNCH = {
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-background-networking", `--disable-features=${PREPARED},${UNWANTED}`],
};
const PLAIN = { javaScriptEnabled: false, locale: "en-GB" };
const MODERN = { javaScriptEnabled: true, locale: "en-GB" };

/**
 * What a test is given. All that it opens is watched, and closed when it ends.
 *
 * @typedef {object} Scene
 * @property {string} server the server's address, without a closing slash
 * @property {string} folder an empty folder
 * @property {Watch} watch what the pages asked for and complained about
 * @property {(options?: BrowserContextOptions) => Promise<Page>} open opens a page without JavaScript in a context of its own
 * @property {(options?: BrowserContextOptions) => Promise<Page>} openModern opens a page with JavaScript in a context of its own
 * @property {(name?: string, options?: BrowserContextOptions) => Promise<Page>} openProfile opens a page with JavaScript in a
 *   browser of its own, whose profile lies on disk: closing its context and opening the same name again is the browser's restart
 * @property {(settings?: string[]) => Promise<Server>} ownServer starts one for this test alone, which may be killed
 * @property {(options?: { before?: string, record?: boolean }) => Promise<Proxy>} proxy stands before the server, or before another
 */

/**
 * Makes a suite for each store: with the embedded one, and with Redis.
 *
 * @param {string} what
 * @param {(test: (name: string, body: (scene: Scene) => Promise<void>, options?: { timeout?: number }) => void, store: Store) => void} tests
 */
export function onBothStores(what, tests) {
  for (const store of /** @type {const} */ (["embedded", "Redis"])) onStore(store, `${what}, ${store}`, tests);
}

/**
 * Makes a suite for one store.
 *
 * @param {Store} store
 * @param {string} what
 * @param {Parameters<typeof onBothStores>[1]} tests
 */
export function onStore(store, what, tests) {
  describe(what, () => {
    /** @type {Server} */
    let server;
    /** @type {import("playwright-core").Browser} */
    let browser;
    before(async () => {
      server = await Server.on(store);
      browser = await chromium.launch(LAUNCH);
    });
    after(async () => {
      await browser?.close();
      await server?.stop();
    });
    tests((name, body, { timeout = 120_000 } = {}) => {
      it(name, { timeout }, () => play(body, store, server, browser));
    }, store);
  });
}

/**
 * @param {(scene: Scene) => Promise<void>} body
 * @param {Store} store
 * @param {Server} server
 * @param {import("playwright-core").Browser} browser
 */
async function play(body, store, server, browser) {
  const folder = await mkdtemp(join(tmpdir(), "onetimeshare-test-"));
  const watch = new Watch(server.address);
  /** What ends what the test has begun. @type {(() => Promise<unknown>)[]} */
  const ends = [() => rm(folder, { recursive: true })];
  /** @type {(context: BrowserContext) => Promise<Page>} */
  const opened = async (context) => {
    ends.push(() => context.close());
    watch.over(context);
    const page = context.pages()[0] ?? (await context.newPage());
    await watch.follow(page);
    return page;
  };
  /** @type {Scene["open"]} */
  const open = async (options = {}) => opened(await browser.newContext({ ...PLAIN, ...options }));
  /** @type {Scene} */
  const scene = {
    server: server.address,
    folder,
    watch,
    open,
    openModern: (options) => open({ ...MODERN, ...options }),
    openProfile: async (name = "profile", options = {}) =>
      opened(await chromium.launchPersistentContext(join(folder, name), { ...LAUNCH, ...MODERN, ...options })),
    ownServer: async (settings) => {
      const own = await Server.on(store, settings);
      ends.push(() => own.stop());
      watch.origins.add(own.address);
      return own;
    },
    proxy: async ({ before = server.address, record } = {}) => {
      const proxy = await Proxy.before(before, { record });
      ends.push(() => proxy.close());
      watch.origins.add(proxy.address);
      return proxy;
    },
  };
  /** @type {unknown[]} */
  const failures = [];
  try {
    await body(scene);
    await watch.settle();
  } catch (error) {
    failures.push(error);
  }
  // All of them, even where the browser is gone: what stays open would keep the run from ending.
  for (const end of ends.reverse()) await end().catch((error) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

/** Sees every request, every page's headers and every complaint of the browser, in all contexts of one test. */
export class Watch {
  /** Requests that left the origins. @type {string[]} */
  foreign = [];
  /**
   * Errors and warnings of the console, of workers too: violations of the Content-Security-Policy, missing files,
   * scripts that failed.
   *
   * @type {{ text: string, url: string }[]}
   */
  complaints = [];
  /** Complaints that belong to what a test does. @type {RegExp[]} */
  allowed = [];
  /** Addresses of pages, as opposed to what pages load. @type {Set<string>} */
  documents = new Set();
  /** Pages that came with another Content-Security-Policy. @type {string[]} */
  unprotected = [];
  pages = 0;
  /** @type {Promise<void>[]} */
  answers = [];

  /** @param {string} server */
  constructor(server) {
    /** Whom the pages may ask. */
    this.origins = new Set([server]);
  }

  /** @param {BrowserContext} context */
  over(context) {
    context.on("request", (request) => {
      const url = new URL(request.url());
      if (!this.origins.has(url.origin) && url.protocol !== "data:") this.foreign.push(request.url());
    });
    context.on("response", (response) => this.answers.push(this.look(response)));
    context.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      this.complaints.push({ text: message.text(), url: message.location().url });
    });
    context.on("weberror", (error) => this.complaints.push({ text: String(error.error()), url: "" }));
  }

  /** Hears the workers of a page, too, whose violations reach no console that `over` sees. @param {Page} page */
  async follow(page) {
    const session = await page.context().newCDPSession(page);
    session.on("Log.entryAdded", ({ entry }) => {
      if (entry.source !== "worker" || !["error", "warning"].includes(entry.level)) return;
      this.complaints.push({ text: entry.text, url: entry.url ?? "" });
    });
    session.on("ServiceWorker.workerErrorReported", ({ errorMessage }) => {
      this.complaints.push({ text: errorMessage.errorMessage, url: errorMessage.sourceURL });
    });
    await session.send("Log.enable");
    await session.send("ServiceWorker.enable");
  }

  /** Takes complaints for expected whose text matches. @param {RegExp[]} patterns */
  allow(...patterns) {
    this.allowed.push(...patterns);
  }

  /** @param {import("playwright-core").Response} response */
  async look(response) {
    if (response.request().isNavigationRequest()) this.documents.add(withoutFragment(response.url()));
    const headers = await response.allHeaders().catch(() => response.headers());
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
        text !== known &&
        !(text.startsWith("Failed to load resource: the server responded") && this.documents.has(withoutFragment(url))) &&
        !this.allowed.some((pattern) => pattern.test(text)),
    );
    assert.deepEqual(this.foreign, [], "requests to others");
    assert.deepEqual(complaints, [], "complaints of the browser");
    assert.deepEqual(this.unprotected, [], "pages with another Content-Security-Policy");
    assert.ok(this.pages > 0, "no page was seen");
  }
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
  for (const [name, content] of files) form.append("file", new Blob([/** @type {BlobPart} */ (content)]), name);
  const answer = await fetch(`${server}/`, { method: "POST", body: form, headers: { accept: "application/json" } });
  assert.equal(answer.status, 201, await answer.clone().text());
  return answer.json();
}

/** Presses the button, and waits for the file; gives its name and where it lies. */
export async function download(page, press = () => page.getByRole("button", { name: "Download" }).click()) {
  const [file] = await Promise.all([page.waitForEvent("download"), press()]);
  return { name: file.suggestedFilename(), path: await file.path(), address: file.url() };
}

/** The stamp of a receipt: the share's state, as its sender reads it. */
export async function stamp(page, receipt) {
  await page.goto(receipt);
  return page.locator("#state").innerText();
}

/** @param {string} url */
const withoutFragment = (url) => url.split("#")[0];
