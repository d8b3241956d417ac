// The page's side of a download: begins it, shows how it goes, and hands the finished file over.

import { finish } from "./api.js";
import { onWake, wake } from "./network.js";
import * as remember from "./remember.js";
import { handOver, isStaged, nameOf, sized } from "./save.js";
import { serviceWorker } from "./service.js";
import { script } from "./trusted.js";
import { fileName, layout } from "./zip.js";

const DAY = 24 * 3600_000;
/** A worker that is told to stop gets so long to note how far it was. Milliseconds. */
const STOPPING = 2000;

/**
 * `total` and `received` are plain bytes; `received` counts those that are verified and written; `rate` is bytes a second.
 *
 * arrived: every record is verified, and the sum matched; finished: the server knows. failed: for this attempt, see `problem.code`: an
 * API code (`gone`, with `reason` and `at`, `budget_spent`, …), or
 * - `corrupt`, `truncated`: `retry()` goes on from the last verified record, under the same claim
 * - `no_room`: the disk or the quota is full; the claim is kept
 * - `taken_elsewhere`: another tab of this browser is at it
 * - `not_saved`: the browser's own download (a `stream`) was cancelled; `retry()` begins a new one
 *
 * waiting, and arrived where the server can't be told: it tries again by itself, in `problem.retryIn` seconds.
 *
 * @typedef {object} DownloadState
 * @property {"claiming" | "receiving" | "waiting" | "paused" | "arrived" | "finished" | "failed"} phase
 * @property {number} received
 * @property {number} total
 * @property {number} rate
 * @property {number | null} secondsLeft
 * @property {{ code: string, retryIn?: number, reason?: string, at?: string }} [problem]
 */

/**
 * @typedef {object} Wanted
 * @property {string} id
 * @property {string} secret base64url
 * @property {import("./seal.js").Keys} keys
 * @property {number} size bytes of sealed content
 * @property {import("./seal.js").Manifest} manifest
 * @property {import("./save.js").Plan} how
 */

/**
 * Takes a share: claims it, or goes on with the claim that this browser has, and downloads.
 *
 * @param {Wanted} wanted
 * @param {(state: DownloadState) => void} onState
 */
export async function receive(wanted, onState) {
  // Whatever the plan is today.
  const kind = (await isStaged(wanted.id)) ? "staged" : wanted.how.kind;
  const download = new Download({ ...wanted, how: { ...wanted.how, kind } }, onState);
  await download.retry();
  return download;
}

/** One download of one share. */
export class Download {
  #wanted;
  #onState;
  #worker;
  #unhear;
  /** @type {Blob | null} */
  #blob = null;
  /** @type {ServiceWorker | null} */
  #keeper = null;
  /** @type {MessagePort | null} */
  #port = null;
  /** @type {() => void} */
  #stopped = () => {};
  #address = "";
  #over = false;

  /**
   * Use {@link receive}.
   *
   * @param {Wanted} wanted
   * @param {(state: DownloadState) => void} onState
   */
  constructor(wanted, onState) {
    this.#wanted = wanted;
    this.#onState = onState;
    this.#worker = new Worker(script(new URL("./download.worker.js", import.meta.url)), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#heard(data);
    this.#worker.onerror = () => this.#failed("internal");
    this.#unhear = onWake((changed) => this.#worker.postMessage({ wake: true, changed }));
  }

  /** Where it goes. The file can be saved again only where that is staged or in memory. */
  get kind() {
    return this.#wanted.how.kind;
  }

  pause() {
    this.#worker.postMessage({ pause: true });
  }

  resume() {
    this.#worker.postMessage({ resume: true });
  }

  /** Goes on after it failed. */
  async retry() {
    const { how, ...wanted } = this.#wanted;
    /** @type {MessagePort[]} */
    const ports = [];
    if (how.kind === "stream") {
      this.#keeper = await serviceWorker("/save/");
      const { port1, port2 } = new MessageChannel();
      this.#port = port2;
      ports.push(port1);
    }
    const start = { ...wanted, kind: how.kind, handle: how.handle, port: ports[0] };
    this.#worker.postMessage({ start }, ports);
  }

  /** The network may be back: who waits tries at once. */
  wake() {
    wake();
  }

  /** Ends it here. The claim and what is staged are kept. */
  async stop() {
    if (this.#over) return;
    this.#over = true;
    this.#unhear();
    const stopped = new Promise((resolve) => (this.#stopped = () => resolve(undefined)));
    this.#worker.postMessage({ stop: true });
    await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, STOPPING))]);
    this.#worker.terminate();
  }

  /** Hands the finished file over: one file as itself, several as one zip. Nothing to do where it went there directly. */
  async save() {
    if (this.kind === "picker" || this.kind === "stream") return;
    handOver(await this.#file(), nameOf(this.#wanted.id, this.#wanted.manifest));
  }

  /**
   * Hands over one of several files.
   *
   * @param {number} index in the manifest
   */
  async saveOne(index) {
    const { files } = this.#wanted.manifest;
    if (files.length === 1) return this.save();
    const file = await this.#file();
    const { data, size, name } = layout(sized(this.#wanted.manifest)).entries[index];
    handOver(file.slice(data, data + size), fileName(name));
  }

  /** What a text share says. */
  async text() {
    return (await this.#file()).text();
  }

  /** Removes the staged file, and what this browser remembers of the claim. */
  async discard() {
    await this.stop();
    this.#blob = null;
    const { id } = this.#wanted;
    await unstage(id);
    const record = await remembered(id);
    // The server is still to be told: a later visit does it.
    if (record?.state === "arrived") await remember.put("claims", { ...record, staged: undefined });
    else await remember.forget("claims", id).catch(() => {});
  }

  /** @returns {Promise<Blob>} */
  async #file() {
    if (this.#blob) return this.#blob;
    return (await (await remember.stagedFolder()).getFileHandle(this.#wanted.id)).getFile();
  }

  /** @param {any} said by the worker */
  #heard({ state, blob, offer: length, go, poke, stopped }) {
    if (blob) this.#blob = blob;
    if (state) this.#onState(state);
    // All is done: its worker is of no more use.
    if (state?.phase === "finished") void this.stop();
    if (length !== undefined) this.#offer(length);
    // The service worker answers, with an attachment: the page stays.
    if (go) location.assign(this.#address);
    if (poke) this.#keeper?.postMessage("stay");
    if (stopped) this.#stopped();
  }

  /** Lets the service worker offer it; its answer makes the download's worker say `go`. @param {number} length */
  #offer(length) {
    const { id, manifest } = this.#wanted;
    this.#address = `/save/${crypto.randomUUID()}`;
    const offer = { offer: this.#address, name: nameOf(id, manifest), length };
    if (this.#port) this.#keeper?.postMessage(offer, [this.#port]);
  }

  /** @param {string} code */
  #failed(code) {
    this.#onState({ phase: "failed", received: 0, total: 0, rate: 0, secondsLeft: null, problem: { code } });
  }
}

/** @param {string} id */
async function unstage(id) {
  await (await remember.stagedFolder().catch(() => null))?.removeEntry(id).catch(() => {});
}

/**
 * A claim that this browser holds or held on a share: after a reload `receive` goes on with it by itself. Null where it
 * remembers none.
 *
 * @param {string} id
 */
export const remembered = async (id) => (await remember.get("claims", id).catch(() => undefined)) ?? null;

/**
 * At each visit: removes what nobody comes back for. Claims whose files arrived while the server could not be told are
 * finished meanwhile: nobody waits for that.
 */
export async function tidy() {
  for (const record of await remember.all("claims")) {
    await navigator.locks.request(`receive:${record.id}`, { ifAvailable: true }, async (lock) => {
      const ended = record.finishedAt ?? record.leaseExpiresAt;
      // What an older page wrote may lack the time: it stays.
      if (!lock || !(Date.now() - ended >= DAY)) return;
      await unstage(record.id);
      await remember.forget("claims", record.id);
    });
  }
  const kept = await remember.all("claims");
  const ids = new Set(kept.map(({ id }) => id));
  const folder = /** @type {any} */ (await remember.stagedFolder().catch(() => null));
  for await (const name of folder?.keys() ?? []) {
    if (!ids.has(name)) await folder.removeEntry(name).catch(() => {});
  }
  for (const record of kept) if (record.state === "arrived") void finishLate(record).catch(() => {});
}

/** @param {import("./remember.js").ClaimRecord} record */
async function finishLate({ id, claim }) {
  await finish(id, claim);
  const record = await remembered(id);
  if (record?.state === "arrived") await remember.put("claims", { ...record, state: "finished", finishedAt: Date.now() });
}
