// upload.js by itself, in a page of the real server, and what its uploads come to.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";

import { HEADER, Message, RECORD, decode, deriveKeys, encode, openManifest } from "../../static/lib/seal.js";

const TUS = { "tus-resumable": "1.0.0" };

/** A page of the server, in which `upload.js` is at hand; `File`s come from the disk, as people choose them. */
export class Lab {
  /** @param {import("./harness.js").Page} page */
  constructor(page) {
    this.page = page;
  }

  /**
   * @param {import("./harness.js").Page} page
   * @param {string} address
   */
  static async at(page, address) {
    await page.goto(`${address}/status`);
    await page.evaluate(async () => {
      const style = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=stylesheet]")).href;
      const [upload, remember] = await Promise.all(
        ["upload", "remember"].map((name) => import(new URL(`lib/${name}.js`, style).href)),
      );
      const input = document.createElement("input");
      Object.assign(input, { id: "lab", type: "file", multiple: true });
      document.body.append(input);
      const lab = {
        upload,
        remember,
        states: [],
        told: new EventTarget(),
        chosen: () => [...input.files].map((file) => ({ file, name: file.name, type: file.type, fromDisk: true })),
        tell: (state) => {
          lab.states.push(state);
          lab.told.dispatchEvent(new Event("state"));
        },
        until: async (matches) => {
          for (;;) {
            const state = lab.states.find(matches);
            if (state) return state;
            await new Promise((resolve) => lab.told.addEventListener("state", resolve, { once: true }));
          }
        },
      };
      Object.assign(window, { lab });
    });
    return new Lab(page);
  }

  /** @param {string[]} paths */
  async choose(paths) {
    await this.page.locator("#lab").setInputFiles(paths);
  }

  /** Sends what was chosen, unless `options` say what. */
  async send(options = {}) {
    await this.page.evaluate((options) => {
      const { lab } = /** @type {any} */ (window);
      const order = { expiresIn: 3600, downloads: 1, part: 1024 * 1024, sources: lab.chosen(), ...options };
      lab.states.length = 0;
      lab.running = lab.upload.send(order, lab.tell);
    }, options);
  }

  /** Goes on with the one unfinished upload, with the files that are chosen. */
  async goOn() {
    return this.page.evaluate(async () => {
      const { lab } = /** @type {any} */ (window);
      const [record] = await lab.upload.unfinished();
      const sources = lab.upload.matches(record, lab.chosen());
      if (!sources) return false;
      lab.states.length = 0;
      lab.running = lab.upload.goOn(record, sources, lab.tell);
      return true;
    });
  }

  /** Goes on with the one unfinished upload, with whatever files are chosen. */
  async goOnWithChosen() {
    await this.page.evaluate(async () => {
      const { lab } = /** @type {any} */ (window);
      const [record] = await lab.upload.unfinished();
      lab.states.length = 0;
      lab.running = lab.upload.goOn(record, lab.chosen(), lab.tell);
    });
  }

  /** Waits for a state of this phase that has sent at least so much. */
  async until(phase, sent = 0) {
    return this.page.evaluate(
      ([phase, sent]) => /** @type {any} */ (window).lab.until((state) => state.phase === phase && state.sent >= sent),
      /** @type {const} */ ([phase, sent]),
    );
  }

  /** How it ended. */
  async end() {
    const ends = ["done", "failed", "cancelled"];
    return this.page.evaluate((ends) => /** @type {any} */ (window).lab.until(({ phase }) => ends.includes(phase)), ends);
  }

  /** Waits until nothing of it runs any more: its lock can be had. */
  async over() {
    await this.page.evaluate(async () => {
      const { held } = await navigator.locks.query();
      await Promise.all(held.map(({ name }) => navigator.locks.request(name, () => {})));
    });
  }

  /** The share, once it is one. */
  async done() {
    const state = await this.end();
    assert.equal(state.phase, "done", JSON.stringify(state));
    assert.equal(state.sent, state.total);
    return state.share;
  }

  /** @param {"pause" | "resume" | "cancel" | "wake"} what */
  async do(what) {
    await this.page.evaluate((what) => /** @type {any} */ (window).lab.running[what](), what);
  }

  /** @returns {Promise<any[]>} */
  async all(store) {
    return this.page.evaluate((store) => /** @type {any} */ (window).lab.remember.all(store), store);
  }

  async states() {
    return this.page.evaluate(() => /** @type {any} */ (window).lab.states);
  }
}

/** Claims a share and opens all of it, as its recipient would. */
export async function open(server, { id, secret }, password = undefined) {
  const keys = await deriveKeys(decode(secret), password);
  const body = JSON.stringify({ proof: encode(keys.proof), claim: encode(new Uint8Array(randomBytes(16))) });
  const headers = { "content-type": "application/json" };
  const claim = await fetch(`${server}/api/v1/shares/${id}/claims`, { method: "POST", body, headers });
  assert.equal(claim.status, 201, await claim.clone().text());
  const { manifest: sealed, size } = await claim.json();
  const answer = await fetch(new URL(claim.headers.get("location"), server));
  const content = new Uint8Array(await answer.arrayBuffer());
  assert.equal(content.length, size);
  const message = await Message.create(keys.content, Message.readHeader(content).salt);
  const records = Math.ceil((content.length - HEADER) / RECORD);
  const plain = [];
  for (let index = 0; index < records; index += 1) {
    const at = HEADER + index * RECORD;
    plain.push(Buffer.from(await message.unseal(index, content.subarray(at, at + RECORD), index === records - 1)));
  }
  const whole = Buffer.concat(plain);
  const manifest = await openManifest(keys.manifest, decode(sealed), whole.length);
  let at = 0;
  const files = manifest.files.map(({ name, size }) => ({ name, bytes: whole.subarray(at, (at += size)) }));
  return { manifest, files };
}

/** Asserts that a share holds just these bytes. */
export async function holds(server, share, ...contents) {
  const { files } = await open(server, share);
  assert.deepEqual(files.map(({ bytes }) => bytes.length), contents.map(({ length }) => length));
  files.forEach(({ bytes }, index) => assert.ok(bytes.equals(contents[index]), `file ${index}`));
}

/** The PATCHes that passed a proxy, and how many bytes of them passed more than once. */
export function sentTwice(proxy, id) {
  const ranges = proxy.requests
    .filter(({ method, target }) => method === "PATCH" && target.includes(id))
    .map(({ headers, sent }) => [Number(headers["upload-offset"]), Number(headers["upload-offset"]) + sent])
    .sort(([a], [b]) => a - b);
  let [reached, twice] = [0, 0];
  for (const [from, to] of ranges) {
    assert.ok(from <= reached, "a gap");
    twice += Math.max(0, Math.min(reached, to) - from);
    reached = Math.max(reached, to);
  }
  return twice;
}

/** How many bytes the server has of an upload; null where it has none of it. */
export async function offsetOf(server, { location }) {
  const head = await fetch(server + location, { method: "HEAD", headers: TUS });
  return head.status === 200 ? Number(head.headers.get("upload-offset")) : null;
}

/** Gives an upload up behind the page's back. */
export async function lose(server, { location }) {
  const gone = await fetch(server + location, { method: "DELETE", headers: TUS });
  assert.equal(gone.status, 204);
}

/** Sends bytes of an upload behind the page's back. */
export async function append(server, { location }, offset, body) {
  const headers = { ...TUS, "content-type": "application/offset+octet-stream", "upload-offset": String(offset) };
  const patch = await fetch(server + location, { method: "PATCH", headers, body });
  assert.equal(patch.status, 204);
}

export const isPatch = ({ method }) => method === "PATCH";
