// The server's HTTP contract: one function for each call. Runs in pages and in workers.

import { either } from "./abort.js";

/**
 * An answer that was not a success.
 *
 * `code` is the contract's stable word; branch on it. `retryAfter` is in seconds, where the server named a time.
 */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{ code?: string, detail?: string, reason?: string, at?: string }} problem
   * @param {number | null} [retryAfter]
   * @param {boolean} [foreign]
   */
  constructor(status, problem, retryAfter = null, foreign = problem.code === undefined) {
    super(problem.detail ?? `status ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? CODES[status] ?? (status >= 500 ? "internal" : "bad_request");
    /** Why a share is gone: claimed, finished, expired, revoked or lapsed; with 410 only. */
    this.reason = problem.reason;
    /** When that was, RFC 3339. */
    this.at = problem.at;
    this.retryAfter = retryAfter;
    /** Whether it came from something that stands before the server: it says nothing of what the server knows. */
    this.foreign = foreign;
  }
}

/** What a HEAD, whose answer has no body, would have said. @type {Record<number, string>} */
const CODES = { 404: "not_found", 410: "gone", 503: "store_unavailable" };

/** No answer came: no network, no server, or too late. The same call may be repeated. */
export class Unreachable extends Error {}

/** So long may a call take that moves no file, in milliseconds. */
const PATIENCE = 30_000;

/**
 * @param {string} method
 * @param {string} path
 * @param {{ bearer?: string, json?: unknown, headers?: Record<string, string>, signal?: AbortSignal, patience?: number, keepalive?: boolean }} [options]
 */
async function call(method, path, { bearer, json, headers = {}, signal, patience = PATIENCE, keepalive } = {}) {
  if (bearer !== undefined) headers = { ...headers, authorization: `Bearer ${bearer}` };
  if (json !== undefined) headers = { ...headers, "content-type": "application/json" };
  const patient = either(...[signal, patience ? AbortSignal.timeout(patience) : null].filter((one) => one != null));
  const body = json === undefined ? undefined : JSON.stringify(json);
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, keepalive, signal: patient, cache: "no-store" });
  } catch (error) {
    signal?.throwIfAborted();
    throw new Unreachable("no answer", { cause: error });
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/**
 * What a refusing answer says.
 *
 * @param {Response} answer
 */
export async function refusal(answer) {
  return refused(answer.status, await answer.text().catch(() => ""), answer.headers);
}

/**
 * @param {number} status
 * @param {string} body
 * @param {{ get: (name: string) => string | null }} headers
 */
function refused(status, body, headers) {
  let problem;
  try {
    problem = JSON.parse(body);
  } catch {
    // None of ours, or of a HEAD.
  }
  const ours = headers.get("content-type")?.startsWith("application/problem+json") && typeof problem?.code === "string";
  const foreign = !ours && headers.get("tus-resumable") === null;
  return new ApiError(status, ours ? problem : {}, seconds(headers.get("retry-after")), foreign);
}

/**
 * What an answer says, which may break off like any other, or be somebody else's.
 *
 * @param {Response} answer
 * @param {AbortSignal} [signal]
 */
async function said(answer, signal) {
  try {
    return await answer.json();
  } catch (cause) {
    signal?.throwIfAborted();
    throw new Unreachable("no whole answer", { cause });
  }
}

/** @param {string | null} retryAfter */
const seconds = (retryAfter) => (retryAfter && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null);

/**
 * @typedef {object} Config
 * @property {number} max_size most bytes of all files of a share
 * @property {number} default_expires_in seconds
 * @property {number} max_expires_in seconds
 * @property {number} max_downloads
 * @property {number} upload_part suggested bytes of one PATCH
 * @property {string} version
 */

/** @returns {Promise<Config>} */
export const config = async () => said(await call("GET", "/api/v1/config"));

const TUS = { "tus-resumable": "1.0.0" };

/**
 * A success without what the server always says: a portal's page, for instance.
 *
 * @returns {never}
 */
function stranger() {
  throw new Unreachable("an answer of somebody else");
}

/**
 * Begins an upload of `length` bytes, of which the first `manifest` are the sealed manifest.
 *
 * @param {{ length: number, manifest: number, verifier: string, password: boolean, expiresIn: number, downloads: number }} upload
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ location: string, id: string, owner: string, expiresAt: number }>} where the bytes go, the share, its
 *   owner token, and until when the upload can go on, ms of this machine's clock
 */
export async function createUpload({ length, manifest, verifier, password, expiresIn, downloads }, signal) {
  /** @type {[string, string | number][]} */
  const pairs = [["manifest", manifest], ["verifier", verifier], ["expires_in", expiresIn], ["downloads", downloads]];
  if (password) pairs.push(["password", 1]);
  const metadata = pairs.map(([key, value]) => `${key} ${btoa(String(value))}`).join(",");
  const headers = { ...TUS, "upload-length": String(length), "upload-metadata": metadata };
  const answer = await call("POST", "/api/v1/uploads", { headers, signal });
  const header = (/** @type {string} */ name) => answer.headers.get(name) ?? stranger();
  const location = new URL(header("location"), self.location.origin).pathname;
  return { location, id: header("share-id"), owner: header("owner-token"), expiresAt: here(header("upload-expires"), answer) };
}

/**
 * A moment of the server's clock, in milliseconds of this machine's: the two may be days apart.
 *
 * @param {string} moment
 * @param {Response} answer that tells it
 */
function here(moment, answer) {
  const now = Date.now();
  return Date.parse(moment) + now - (Date.parse(answer.headers.get("date") ?? "") || now);
}

/**
 * How many bytes of an upload the server has.
 *
 * @param {string} location
 * @param {AbortSignal} [signal]
 */
export async function uploadOffset(location, signal) {
  // A HEAD that fails has no body that says why.
  const answer = await call("HEAD", location, { headers: TUS, signal });
  return offsetIn(answer.headers.get("upload-offset")) ?? stranger();
}

/**
 * An offset; null where it is none.
 *
 * @param {string | null} header
 */
const offsetIn = (header) => (header && /^\d+$/.test(header) && Number.isSafeInteger(Number(header)) ? Number(header) : null);

/**
 * Sends the bytes that follow `offset`. Where it fails, the server may have some of them: ask with `uploadOffset`.
 *
 * @param {string} location
 * @param {number} offset
 * @param {Uint8Array<ArrayBuffer> | Blob} bytes
 * @param {{ signal?: AbortSignal, progress?: (sent: number) => void }} [options] `progress` is told how many of the bytes
 *   have left; an abort rejects with the signal's reason
 * @returns {Promise<number>} the offset that the server reached
 */
export function appendUpload(location, offset, bytes, { signal, progress } = {}) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    // fetch does not tell how far a body has come.
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    request.onload = () => {
      const header = (/** @type {string} */ name) => request.getResponseHeader(name);
      if (request.status >= 300) return reject(refused(request.status, request.responseText, { get: header }));
      const reached = offsetIn(header("upload-offset"));
      if (reached === null) reject(new Unreachable("an answer of somebody else"));
      else resolve(reached);
    };
    request.onerror = () => reject(new Unreachable("no answer"));
    request.onabort = () => reject(signal?.reason);
    request.onloadend = () => signal?.removeEventListener("abort", abort);
    request.upload.onprogress = request.upload.onload = (event) => progress?.(event.loaded);
    request.open("PATCH", location);
    for (const [name, value] of Object.entries(TUS)) request.setRequestHeader(name, value);
    request.setRequestHeader("content-type", "application/offset+octet-stream");
    request.setRequestHeader("upload-offset", String(offset));
    signal?.addEventListener("abort", abort);
    request.send(bytes);
  });
}

/**
 * Gives up an upload; where it is a share by now, revokes that.
 *
 * @param {{ location: string, id: string, owner: string }} upload
 */
export async function abandonUpload({ location, id, owner }) {
  try {
    await call("DELETE", location, { headers: TUS, keepalive: true });
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== "published") throw error;
    await revoke(id, owner);
  }
}

/**
 * @typedef {object} Peek
 * @property {number} size bytes of sealed content
 * @property {boolean} password whether one is needed
 * @property {string} expires_at
 * @property {string} [manifest] sealed, base64url; with a proof only
 * @property {number} [downloads_left] with a proof only
 */

/**
 * Looks at a share, which consumes nothing. 410 with a reason only for the right proof.
 *
 * @param {string} id
 * @param {string} [proof] base64url
 * @returns {Promise<Peek>}
 */
export const peek = async (id, proof) => said(await call("GET", `/api/v1/shares/${id}`, { bearer: proof }));

/**
 * Claims. Safe to repeat with the same claim token: it is the same claim.
 *
 * @param {string} id
 * @param {string} proof base64url
 * @param {string} claim the token, made by the caller
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ size: number, manifest: string, leaseExpiresAt: number }>} ms of this machine's clock
 */
export async function claim(id, proof, claim, signal) {
  const answer = await call("POST", `/api/v1/shares/${id}/claims`, { json: { proof, claim }, signal });
  const { size, manifest, lease_expires_at: lease } = await said(answer, signal);
  return { size, manifest, leaseExpiresAt: here(lease, answer) };
}

/**
 * Where a claim's sealed content is read, by GET with Range.
 *
 * @param {string} id
 * @param {string} claim
 */
export const contentOf = (id, claim) => `/api/v1/shares/${id}/claims/${claim}`;

/**
 * Confirms that every byte arrived and was verified. Safe to repeat; that the claim has ended already is as good.
 *
 * @param {string} id
 * @param {string} claim
 */
export async function finish(id, claim) {
  try {
    await call("DELETE", contentOf(id, claim), { keepalive: true });
  } catch (error) {
    if (!hasEnded(error)) throw error;
  }
}

/**
 * Whether there is no claim, and never will be: it was not granted, or it has ended.
 *
 * @param {unknown} error of a call with a claim's token
 */
export const hasEnded = (error) => error instanceof ApiError && !error.foreign && [403, 404, 410].includes(error.status);

/**
 * Withdraws a share. Safe to repeat; 409 `claimed` where its last claim is granted.
 *
 * @param {string} id
 * @param {string} owner
 */
export const revoke = (id, owner) => call("DELETE", `/api/v1/shares/${id}`, { bearer: owner });

/**
 * @typedef {object} Receipt
 * @property {"uploading" | "ready" | "claimed" | "finished" | "abandoned" | "revoked" | "expired" | "lapsed"} state
 * @property {string} created_at
 * @property {string | null} expires_at
 * @property {number} opened
 * @property {number} wrong_proofs
 * @property {number} downloads how many are allowed
 * @property {{ state: "claimed" | "finished" | "lapsed", claimed_at: string, finished_at: string | null, served: number }[]} claims
 */

/**
 * @param {string} id
 * @param {string} owner
 * @returns {Promise<Receipt>}
 */
export const receipt = async (id, owner) => said(await call("GET", `/api/v1/receipts/${id}`, { bearer: owner }));

/**
 * The receipt, and again whenever it changes, until the stream breaks or ends.
 *
 * @param {string} id
 * @param {string} owner
 * @param {() => void} alive called for every sign of life
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<Receipt, void, void>}
 */
export async function* receipts(id, owner, alive, signal) {
  const headers = { accept: "text/event-stream" };
  const answer = await call("GET", `/api/v1/receipts/${id}/events`, { bearer: owner, headers, signal, patience: 0 });
  const decoder = /** @type {ReadableWritablePair<string, Uint8Array>} */ (/** @type {unknown} */ (new TextDecoderStream()));
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).pipeThrough(decoder).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    text += value;
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").flatMap((line) => (line.startsWith("data:") ? [line.slice(5).trim()] : []));
      if (data.length > 0) yield JSON.parse(data.join("\n"));
    }
  }
}
