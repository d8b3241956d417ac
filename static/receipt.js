// The sender's page: what becomes of a share, as it happens.

import { ApiError, Unreachable, peek, receipt as receiptOf, receipts, revoke } from "./lib/api.js";
import { keepFragment, tokenIn } from "./lib/fragment.js";
import { Backoff, onWake, sleep } from "./lib/network.js";
import { draw } from "./lib/receipt-view.js";
import * as memory from "./lib/remember.js";
import { sealedLength } from "./lib/seal.js";
import { Follower, happenings, isOver } from "./lib/timeline.js";
import { byId, focus, only } from "./lib/ui.js";

/** @typedef {import("./lib/api.js").Receipt} Receipt */

/** A stream that says nothing for so long at its beginning is held back on its way, in milliseconds. */
const SILENCE = 10_000;
/** The server gives a sign every 15 seconds: a stream that says nothing for so long is dead, in milliseconds. */
const DEAD = 40_000;
/** Between two streams, in milliseconds. */
const PAUSE = 1000;
/** How often a download is looked at that may stand still, in milliseconds. */
const LOOK = 10_000;
/** A stream that was quiet for so long may have died while the machine slept, in milliseconds. */
const STALE = 20_000;

const ticket = byId("receipt");
const id = location.pathname.split("/")[2] ?? "";
const owner = tokenIn(location.hash);
const follower = new Follower();

/** @type {Receipt | undefined} */
let latest;
let heardAt = 0;
/** @type {AbortController | undefined} */
let stream;
/** @type {number | undefined} bytes of sealed content */
let sealed;
/** @type {number | undefined} ms, where it was seen */
let revokedAt;

keepFragment();
void (owner ? start(owner) : unknown());

/** @param {string} owner */
async function start(owner) {
  only(ticket, "looking");
  byId("revoke-first").onclick = () => confirmRevoking(true);
  byId("revoke-no").onclick = () => confirmRevoking(false);
  byId("revoke-yes").onclick = () => void withdraw(owner);
  setInterval(() => latest && show(latest), LOOK);
  onWake(() => {
    if (Date.now() - heardAt > STALE) stream?.abort();
  });
  sealed = await sizeOf();
  await follow(owner);
}

/** Bytes of sealed content, of a share that was sent from here or still waits. */
async function sizeOf() {
  const mine = await memory.get("shares", id).catch(() => undefined);
  if (mine) return sealedLength(mine.size);
  return peek(id).then(
    ({ size }) => size,
    () => undefined,
  );
}

/**
 * Shows every change, until there can be none.
 *
 * @param {string} owner
 */
async function follow(owner) {
  const backoff = new Backoff();
  for (;;) {
    try {
      // Where a stream can't be had, each round asks once.
      if (!(await listen(owner))) heard(await receiptOf(id, owner));
      if (latest && isOver(latest)) return;
      backoff.reset();
      await sleep(PAUSE);
    } catch (error) {
      if (isRefused(error)) return unknown();
      if (!(error instanceof ApiError) && !(error instanceof Unreachable)) console.error(error);
      if (latest) byId("offline").hidden = false;
      else only(ticket, "unreachable");
      await sleep(backoff.next(new Unreachable("no receipt", { cause: error })));
    }
  }
}

/**
 * Shows receipts as long as a stream of them lasts.
 *
 * @param {string} owner
 * @returns {Promise<boolean>} whether there were any
 */
async function listen(owner) {
  const aborter = (stream = new AbortController());
  const within = (/** @type {number} */ milliseconds) => setTimeout(() => aborter.abort(), milliseconds);
  let silence = within(SILENCE);
  const alive = () => {
    clearTimeout(silence);
    silence = within(DEAD);
  };
  const coming = receipts(id, owner, alive, aborter.signal);
  try {
    for (let any = false; ; any = true) {
      const next = await coming.next().catch(broken);
      if (!next?.value) return any;
      heard(next.value);
    }
  } finally {
    clearTimeout(silence);
  }
}

/**
 * A stream that breaks is one that ends; but for a wrong token there is none.
 *
 * @param {unknown} error
 */
function broken(error) {
  if (isRefused(error)) throw error;
}

/**
 * Whether there is nothing for this token.
 *
 * @param {unknown} error
 */
const isRefused = (error) =>
  error instanceof ApiError && !error.foreign && (error.status === 404 || error.status === 401);

/** @param {Receipt} receipt */
function heard(receipt) {
  heardAt = Date.now();
  byId("offline").hidden = true;
  if (receipt.state === "revoked" && latest?.state === "ready") revokedAt ??= heardAt;
  latest = receipt;
  show(receipt);
}

/** @param {Receipt} receipt */
function show(receipt) {
  follower.note(receipt, Date.now(), sealed);
  draw(receipt, happenings(receipt, follower, revokedAt), sealed);
}

/** Nothing is told of a share to one whose token is not its own, or whose receipt is no longer kept. */
function unknown() {
  byId("lede").hidden = byId("live").hidden = true;
  only(ticket, "unknown");
  focus(byId("heading"));
}

/**
 * Asks once more before it revokes, or not any longer.
 *
 * @param {boolean} asks
 */
function confirmRevoking(asks) {
  byId("revoke-ask").hidden = asks;
  byId("revoke-confirm").hidden = !asks;
  byId("revoke-failed").hidden = true;
  byId(asks ? "revoke-yes" : "revoke-first").focus();
}

/** @param {string} owner */
async function withdraw(owner) {
  try {
    await revoke(id, owner);
    // A share that was taken before has the state of what was taken.
    revokedAt = Date.now();
  } catch (error) {
    confirmRevoking(false);
    const isLate = error instanceof ApiError && error.code === "claimed";
    const said = byId(isLate ? "late" : "revoke-failed");
    said.hidden = false;
    return focus(said);
  }
  // Where it can't be asked for now, the stream tells it.
  await receiptOf(id, owner).then(heard, () => {});
  focus(byId("state"));
}
