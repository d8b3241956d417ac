// The page behind a link: looks without consuming, claims on a person's click, downloads.

import { ApiError, claim, peek } from "./lib/api.js";
import { showArrived } from "./lib/arrived.js";
import * as contents from "./lib/contents.js";
import { receive, remembered, tidy } from "./lib/download.js";
import { ended, headline, lapsed, nothing, takenHere, unreadable } from "./lib/ended.js";
import { keepFragment, tokenIn } from "./lib/fragment.js";
import { Backoff, wake } from "./lib/network.js";
import { askPassword } from "./lib/password.js";
import { plan } from "./lib/save.js";
import { CorruptError, ManifestError, decode, deriveKeys, encode, openManifest, plainLength } from "./lib/seal.js";
import { t } from "./lib/text.js";
import { transfer } from "./lib/transfer.js";
import { byId, focus, only, say, timeElement } from "./lib/ui.js";

/** @typedef {import("./lib/transfer.js").Share} Share */
/** @typedef {import("./lib/remember.js").ClaimRecord} ClaimRecord */
/** @typedef {import("./lib/api.js").Peek} Peek */

/** The plan of what is in this browser already. @type {import("./lib/transfer.js").Plan} */
const STAGED = { kind: "staged" };

const ticket = byId("receive");
const id = location.pathname.split("/")[2] ?? "";

keepFragment();
byId("look-again").addEventListener("click", () => wake());
start().catch((error) => {
  // What is not the server's word is a manifest that can't be read, or a defect.
  if (!isUnreadable(error)) console.error(error);
  unreadable();
});

/**
 * Whether the manifest is what can't be read.
 *
 * @param {unknown} error
 */
const isUnreadable = (error) => error instanceof CorruptError || error instanceof ManifestError;

async function start() {
  const secret = tokenIn(location.hash) ?? tokenIn(`#${history.state?.secret}`);
  if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) return insecure(secret);
  only(ticket, "looking");
  // What is left of earlier visits goes first: it may be this one's.
  await tidy().catch(() => {});
  const record = await remembered(id);
  if (record && (!secret || secret === record.secret)) await again(record);
  else if (secret) await look(secret);
  else nothing();
}

/**
 * Takes the secret out of the address; a reload still finds it.
 *
 * @param {string} secret
 */
function hideSecret(secret) {
  history.replaceState({ secret }, "", location.pathname);
}

/**
 * Asks until the server answers, and says meanwhile that it does not.
 *
 * @template T
 * @param {() => Promise<T>} act
 */
async function insist(act) {
  try {
    return await new Backoff().insist(act, { waits: () => only(ticket, "unreachable") });
  } finally {
    const asked = document.activeElement === byId("look-again");
    only(ticket, "looking");
    // The button that was pressed is gone.
    if (asked) focus(byId("heading"));
  }
}

/**
 * Looks at the share, as far as the link alone allows.
 *
 * @param {string} secret
 */
async function look(secret) {
  // A proof is shown only to a share without a password: to the others it would be a wrong guess.
  const seen = await insist(() => peek(id)).catch(unless(404));
  if (seen?.password) return locked(secret, seen);
  const keys = await deriveKeys(decode(secret));
  try {
    await open(secret, keys, await insist(() => peek(id, encode(keys.proof))));
  } catch (error) {
    refused(error, secret);
  }
}

/**
 * Takes an answer of this status for none.
 *
 * @param {number} status
 * @returns {(error: unknown) => undefined}
 */
function unless(status) {
  return (error) => {
    if (!(error instanceof ApiError) || error.foreign || error.status !== status) throw error;
  };
}

/**
 * Tells one who has the key what became of it, and everybody else nothing; but a password may be half of the key.
 *
 * @param {unknown} error
 * @param {string} secret
 */
function refused(error, secret) {
  if (!(error instanceof ApiError) || error.foreign || error.status >= 500) throw error;
  if (isTooLate(error, secret)) return;
  nothing();
  askPassword(secret, "receive.password.ended", (keys) => openWith(secret, keys));
  only(ticket, "ended", "tear", "locked");
}

/**
 * Asks for the password of a share that waits.
 *
 * @param {string} secret
 * @param {Peek} seen
 */
function locked(secret, seen) {
  headline(t("receive.title"), t("receive.lede"));
  contents.showLocked(seen);
  askPassword(secret, "receive.password.hint", (keys) => openWith(secret, keys));
  contents.showBelow("locked");
}

/**
 * @param {string} secret
 * @param {import("./lib/seal.js").Keys} keys
 * @throws {ApiError} where the keys open nothing, and never opened anything
 */
async function openWith(secret, keys) {
  try {
    await open(secret, keys, await peek(id, encode(keys.proof)));
    focus(byId("heading"));
  } catch (error) {
    if (isUnreadable(error)) unreadable();
    else if (!isTooLate(error, secret)) throw error;
  }
}

/**
 * Where the share has ended, says how.
 *
 * @param {unknown} error
 * @param {string} secret
 */
function isTooLate(error, secret) {
  if (!(error instanceof ApiError) || error.foreign || error.status !== 410) return false;
  hideSecret(secret);
  ended(error.reason, error.at);
  return true;
}

/**
 * Shows what the share holds, and offers it.
 *
 * @param {string} secret
 * @param {import("./lib/seal.js").Keys} keys
 * @param {Peek} seen with the manifest
 */
async function open(secret, keys, seen) {
  const share = await shareOf(secret, keys, seen.size, seen.manifest ?? "");
  contents.showWaiting(seen);
  await offer(share);
}

/**
 * Unseals the manifest, and shows it.
 *
 * @param {string} secret
 * @param {import("./lib/seal.js").Keys} keys
 * @param {number} size bytes of sealed content
 * @param {string} sealed the manifest, base64url
 * @returns {Promise<Share>}
 */
async function shareOf(secret, keys, size, sealed) {
  const content = plainLength(size);
  if (content === null) throw new ManifestError("wrong_length", "no share has that length");
  const manifest = await openManifest(keys.manifest, decode(sealed), content);
  show(manifest);
  return { id, secret, keys, size, manifest };
}

/** @param {import("./lib/seal.js").Manifest} manifest */
function show(manifest) {
  headline(contents.headingOf(manifest), t("receive.lede"));
  contents.showManifest(manifest);
}

/**
 * Offers to take it. Nothing but a person's own click claims.
 *
 * @param {Share} share
 * @param {boolean} [isMine] whether the claim is this browser's already
 */
async function offer(share, isMine = false) {
  const isText = contents.isText(share.manifest);
  const how = await plan(share.manifest, share.size, id);
  const button = /** @type {HTMLButtonElement} */ (byId("download"));
  say(button, isMine ? "receive.go_on" : isText ? "receive.reveal" : "receive.submit");
  button.disabled = how.kind === "none";
  say(byId("how"), isText && how.kind !== "none" ? "receive.how.text" : `receive.how.${how.kind}`);
  button.onclick = async (event) => {
    if (event.isTrusted && (await isChosen(how))) await take(share, how, isMine);
  };
  contents.showBelow("offer");
}

/**
 * Has the person choose a place, where there must be one.
 *
 * @param {import("./lib/transfer.js").Plan} how
 * @returns {Promise<boolean>} false where they changed their mind
 */
async function isChosen(how) {
  try {
    await how.choose?.();
    return true;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return false;
    throw error;
  }
}

/**
 * @param {Share} share
 * @param {import("./lib/transfer.js").Plan} how
 * @param {boolean} isMine whether the claim is this browser's already
 */
function take(share, how, isMine) {
  return transfer(share, how, {
    granted() {
      hideSecret(share.secret);
      say(byId("lede"), "receive.lede.granted");
      contents.hideWaiting();
    },
    gone({ reason, at }, granted) {
      hideSecret(share.secret);
      if ((isMine || granted) && reason === "lapsed") lapsed(at);
      else ended(reason, at);
    },
  });
}

/**
 * A share that this browser asked for before.
 *
 * @param {ClaimRecord} record
 */
async function again(record) {
  const { secret, keys, manifest, size } = record;
  if (record.state === "asked" || !manifest || size === undefined) return perhapsGranted(record);
  hideSecret(secret);
  show(manifest);
  const share = { id, secret, keys, size, manifest };
  if (record.state === "granted") await goOn(share, record.staged !== undefined);
  else if (record.staged) await offerCopy(share, record);
  else takenHere(record.finishedAt);
}

/**
 * The answer to a claim was lost. Where the share still waits, it takes another click; where it does not, the claim is
 * asked for again: that grants nothing new.
 *
 * @param {ClaimRecord} record
 */
async function perhapsGranted({ secret, keys, claim: token }) {
  try {
    const proof = encode(keys.proof);
    const seen = await insist(() => peek(id, proof)).catch(unless(410));
    if (seen) return await open(secret, keys, seen);
    const granted = await insist(() => claim(id, proof, token));
    await goOn(await shareOf(secret, keys, granted.size, granted.manifest), false);
  } catch (error) {
    refused(error, secret);
  }
}

/**
 * Goes on with a claim that is granted: by itself, where no place has to be chosen.
 *
 * @param {Share} share
 * @param {boolean} isStaged whether a part of it is here already
 */
async function goOn(share, isStaged) {
  const how = isStaged ? STAGED : await plan(share.manifest, share.size, id);
  if (how.kind === "staged" || how.kind === "memory") await take(share, how, true);
  else await offer(share, true);
}

/**
 * Offers the copy that this browser still has; a text only on a click, as at the first time.
 *
 * @param {Share} share
 * @param {ClaimRecord} record
 */
async function offerCopy(share, record) {
  const { manifest } = share;
  const at = record.finishedAt ?? Date.now();
  const download = await receive({ ...share, how: STAGED }, () => {});
  const hand = () => showArrived({ download, manifest, fresh: false, isFinished: record.state === "finished", at });
  if (!contents.isText(manifest)) return hand();
  say(byId("download"), "receive.reveal");
  say(byId("how"), "receive.taken_here", { time: timeElement(at) });
  byId("download").onclick = hand;
  contents.showBelow("offer");
}

/**
 * Unsealing takes WebCrypto, which browsers keep from plain http: only the server can do it there.
 *
 * @param {string | null} secret
 */
function insecure(secret) {
  if (!secret) return nothing();
  only(ticket, "insecure");
  byId("plain-link").setAttribute("href", `/s/${id}/${secret}`);
}
