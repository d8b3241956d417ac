// One upload, from the files to the share. upload.js begins it, and is told how it goes.

import { ApiError, abandonUpload, createUpload } from "./api.js";
import { Backoff, Rate, codeOf, secondsLeft, sleep, suspect, wake } from "./network.js";
import { Anew, Notes } from "./notes.js";
import { Parts } from "./parts.js";
import { ChangedError, Files } from "./reading.js";
import * as remember from "./remember.js";
import { HEADER, Message, PLAIN, RECORD, deriveKeys, encode, randomToken, sealManifest, sealedLength } from "./seal.js";
import { Reins, Sending } from "./tus.js";

/** @typedef {import("./remember.js").UploadRecord} UploadRecord */
/** @typedef {import("./remember.js").ShareRecord} ShareRecord */
/** @typedef {import("./upload.js").UploadState} UploadState */
/** @typedef {import("./upload.js").Stamped} Stamped */

/**
 * What is to be sent.
 *
 * @typedef {object} Order
 * @property {Stamped[]} sources
 * @property {boolean} text whether the one source is a text
 * @property {string} [note]
 * @property {string} [password]
 * @property {number} expiresIn seconds
 * @property {number} downloads
 * @property {number} part bytes of one request
 */

/** Most times that an upload begins anew: a server that loses all of them gets no better. */
const RESTARTS = 3;
/** Milliseconds between two words on progress. */
const GRAIN = 100;
/** So many files are tried before anything is sent; others, too, are told when they can't be read. */
const TRIED = 200;
/** Milliseconds. */
const LOCK = 2000;
const FAREWELL = 5000;

/** What ends an upload, or this visit's part in it. */
class Failure extends Error {
  /**
   * @param {string} code for the words that people read
   * @param {{ name?: string, keeps?: boolean }} [options] the file; whether it may still go on, later or elsewhere
   */
  constructor(code, { name, keeps = false } = {}) {
    super(code);
    this.code = code;
    this.file = name;
    this.keeps = keeps;
  }
}

const reins = new Reins();
const rate = new Rate();
let total = 0;
/** @type {UploadState["phase"]} */
let phase = "preparing";
let told = -Infinity;
/** What is begun on the server, and not done. @type {{ id: string, location: string, owner: string } | null} */
let open = null;

/**
 * @param {UploadState["phase"]} now
 * @param {number} sent plain bytes
 * @param {Partial<UploadState>} [more]
 */
function tell(now, sent, more) {
  const at = performance.now();
  if (now !== phase) rate.reset();
  const speed = now === "sending" ? rate.see(sent, at) : 0;
  if (now === "sending" && phase === now && at - told < GRAIN) return;
  [phase, told] = [now, at];
  self.postMessage({ phase, sent, total, rate: speed, secondsLeft: secondsLeft(total - sent, speed), ...more });
}

/**
 * Begins an upload, and again under a new secret where it can't go on.
 *
 * @param {Order} order
 * @returns {Promise<ShareRecord>}
 */
async function begin(order) {
  await tryFiles(order);
  for (let restarts = 0; ; restarts += 1) {
    tell("preparing", 0);
    const { record, remembered } = await create(order);
    try {
      return await transfer(record, order.sources, { fresh: true, remembered });
    } catch (error) {
      if (!(error instanceof Anew) || restarts === RESTARTS) throw error;
      await giveUp();
    }
  }
}

/**
 * Goes on with an upload of an earlier visit.
 *
 * @param {UploadRecord} record
 * @param {Stamped[] | null} sources null: they are needed, and not there
 * @returns {Promise<ShareRecord>}
 */
async function goOn(record, sources) {
  const ours = (await lock(record.id)) && (await remember.get("uploads", record.id));
  if (!ours) throw new Failure("elsewhere", { keeps: true });
  open = record;
  const { manifest, expiresIn, downloads, part } = record;
  total = manifest.files.reduce((sum, { size }) => sum + Number(size), 0);
  try {
    return await transfer(record, sources, { fresh: false, remembered: true });
  } catch (error) {
    if (!(error instanceof Anew) || !sources) throw error;
    // The password was never kept, so nobody but the user can begin anew.
    if (record.password) throw new Failure("needs_password");
    await giveUp();
    const text = manifest.files[0].kind === "text";
    total = sizeOf(sources);
    return begin({ sources, text, note: manifest.note, expiresIn, downloads, part });
  }
}

/**
 * Sees whether files can be read, before anybody waits for them: a folder is none, nor is what was moved away.
 *
 * @param {Order} order
 */
async function tryFiles({ sources }) {
  const tries = sources.slice(0, TRIED).map(async ({ file, name, size }) => {
    const bytes = await file.slice(0, 1).arrayBuffer().catch(() => null);
    if (bytes?.byteLength !== Math.min(1, size)) throw new Failure("unreadable", { name });
  });
  await Promise.all(tries);
}

/**
 * Makes keys, and a place on the server, and remembers both: all that going on takes.
 *
 * @param {Order} order
 */
async function create({ sources, text, note, password, expiresIn, downloads, part }) {
  const secret = randomToken();
  const [manifestSalt, contentSalt] = [randomToken(), randomToken()];
  const keys = await deriveKeys(secret, password);
  const files = sources.map(({ name, type, size }) => ({
    name,
    ...(type && { type }),
    size,
    ...(text && { kind: "text" }),
  }));
  /** @type {import("./seal.js").Manifest} */
  const manifest = { v: 1, files, ...(note && { note }) };
  const { length: manifestLength } = await sealManifest(keys.manifest, manifest, manifestSalt).catch((error) => {
    throw error.code === "manifest_too_long" ? new Failure("too_many_names") : error;
  });
  const length = manifestLength + sealedLength(total);
  const terms = { password: Boolean(password), expiresIn, downloads };
  const { location, id, owner, expiresAt } = await created({
    ...{ length, manifest: manifestLength, verifier: keys.verifier },
    ...terms,
  });
  open = { id, location, owner };
  /** @type {UploadRecord} */
  const record = {
    ...{ id, location, owner, secret: encode(secret), keys, manifestSalt, contentSalt },
    ...{ manifest, manifestLength, length, part, ...terms },
    kept: sources.map(({ file, fromDisk }) => (fromDisk ? null : file)),
    handles: sources.map(({ handle }) => handle ?? null),
    stamps: sources.map(({ size, lastModified }) => ({ size, lastModified })),
    createdAt: Date.now(),
    expiresAt,
  };
  await lock(id);
  // Where it can't be remembered it can still be sent, and no later visit can go on with it.
  const remembered = await remember.put("uploads", record).then(() => true, () => false);
  return { record, remembered };
}

/**
 * A place on the server.
 *
 * @param {Parameters<typeof createUpload>[0]} terms
 */
async function created(terms) {
  const backoff = new Backoff();
  for (;;) {
    await reins.pass(() => tell("paused", 0));
    try {
      // Not called off by anything: a place that nobody learns of stays reserved for long.
      return await createUpload(terms);
    } catch (error) {
      const milliseconds = backoff.next(error);
      tell("waiting", 0, { problem: { code: codeOf(error), retryIn: Math.ceil(milliseconds / 1000) } });
      await reins.rest(milliseconds, error instanceof ApiError && error.retryAfter !== null);
    }
  }
}

/** @param {Stamped[]} sources */
const sizeOf = (sources) => sources.reduce((sum, { size }) => sum + size, 0);

/**
 * Sends what the server lacks, and makes a share of it.
 *
 * @param {UploadRecord} record
 * @param {Stamped[] | null} sources
 * @param {{ fresh: boolean, remembered: boolean }} options
 * @returns {Promise<ShareRecord>}
 * @throws {Anew}
 */
async function transfer(record, sources, { fresh, remembered }) {
  const { id, keys, manifestLength, length } = record;
  const plain = (/** @type {number} */ offset) => {
    const sealed = Math.max(0, offset - manifestLength - HEADER);
    return offset >= length ? total : Math.min(total, Math.floor((sealed / RECORD) * PLAIN));
  };
  const parts = async () => {
    const lacking = record.manifest.files.find((_, index) => !record.kept[index]);
    if (!sources) throw new Failure("unreadable", { name: lacking?.name, keeps: true });
    const same = (/** @type {{ size: number, lastModified: number }} */ old, /** @type {number} */ index) =>
      old.size === sources[index]?.size && (record.kept[index] || old.lastModified === sources[index].lastModified);
    if (sources.length !== record.stamps.length || !record.stamps.every(same)) throw new Anew("other files");
    const manifest = await sealManifest(keys.manifest, record.manifest, record.manifestSalt);
    const message = await Message.create(keys.content, record.contentSalt);
    const made = new Parts(new Files(sources), manifest, message, record.part);
    if (manifest.length !== manifestLength || made.length !== length) throw new Anew("other lengths");
    return made;
  };
  const notes = new Notes(id, remembered);
  if (!fresh) await notes.load();
  /** @type {import("./tus.js").Tell} */
  const say = (phase, sent, problem) => tell(phase, plain(sent), problem && { problem });
  try {
    await new Sending(record, parts, notes, reins, say).run(fresh);
  } catch (error) {
    if (error instanceof ChangedError) throw new Failure(error.code, { name: sources?.[error.index].name });
    throw error;
  }
  return shared(record);
}

/**
 * @param {UploadRecord} record
 * @returns {Promise<ShareRecord>}
 */
async function shared({ id, secret, owner, manifest: { files }, password, downloads, expiresIn }) {
  open = null;
  /** @type {ShareRecord} */
  const share = {
    ...{ id, secret, owner, password, downloads, size: total, state: "ready" },
    names: files.slice(0, 3).map(({ name }) => name),
    files: files.length,
    text: files[0].kind === "text",
    createdAt: Date.now(),
    expiresAt: Date.now() + expiresIn * 1000,
  };
  // Where nothing can be remembered, the link is still worth having.
  await remember.put("shares", share).catch(() => {});
  await remember.forgetUpload(id);
  return share;
}

/** Nothing of the open upload remains, here or on the server. */
async function giveUp() {
  if (!open) return;
  const upload = open;
  open = null;
  await remember.forgetUpload(upload.id);
  // Out of reach it ends by itself, when its window does.
  await Promise.race([abandonUpload(upload), sleep(FAREWELL, { fixed: true })]).catch(() => {});
}

/**
 * Holds the upload until this worker ends: no other tab may run it meanwhile.
 *
 * @param {string} id
 * @returns {Promise<boolean>} whether it could be had
 */
function lock(id) {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(true);
    // A tab that was just closed or loaded again still holds it for a moment.
    const signal = AbortSignal.timeout(LOCK);
    navigator.locks
      .request(`upload:${id}`, { signal }, () => {
        resolve(true);
        return new Promise(() => {});
      })
      .catch(() => resolve(false));
  });
}

/** Whether something that stands before the server refused: what is there may still go on. @param {unknown} error */
const isForeign = (error) => error instanceof ApiError && error.foreign;

/** @param {() => Promise<ShareRecord>} work */
async function run(work) {
  try {
    const share = await work();
    tell("done", total, { share });
  } catch (error) {
    if (reins.cancelled) {
      await giveUp();
      tell("cancelled", 0);
    } else {
      const { file, keeps } = error instanceof Failure ? error : { file: undefined, keeps: isForeign(error) };
      const code = codeOf(error instanceof Anew && error.cause ? error.cause : error);
      if (code === "internal") console.error(error);
      tell("failed", 0, { problem: { code, ...(file && { name: file }) } });
      if (!keeps) await giveUp();
    }
  }
  self.close();
}

self.onmessage = ({ data }) => {
  switch (data.do) {
    case "send":
      total = sizeOf(data.order.sources);
      return void run(() => begin(data.order));
    case "goOn":
      return void run(() => goOn(data.record, data.sources));
    case "pause":
      return reins.pause();
    case "resume":
      return reins.resume();
    case "cancel":
      return reins.cancel();
    case "wake":
      return data.changed ? suspect() : wake();
  }
};
self.postMessage("ready");
