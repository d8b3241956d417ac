// The page behind a link: looks without consuming, claims on a real click, downloads.

import { ApiError, claim, peek } from "./lib/api.js";
import { showArrived } from "./lib/arrived.js";
import { headingOf, hideWaiting, isText, plainSize, showBelow, showLocked, showManifest, showWaiting } from "./lib/contents.js";
import { receive, remembered, tidy } from "./lib/download.js";
import { Backoff, wake } from "./lib/network.js";
import { plan } from "./lib/save.js";
import { decode, deriveKeys, encode, openManifest, plainLength } from "./lib/seal.js";
import { t } from "./lib/text.js";
import { transfer } from "./lib/transfer.js";
import { announce, byId, clock, focus, keepFragment, only, say, timeElement } from "./lib/ui.js";

/** @typedef {import("./lib/transfer.js").Share} Share */
/** @typedef {import("./lib/remember.js").ClaimRecord} ClaimRecord */

const ticket = byId("receive");
const id = ticket.dataset.id ?? "";

keepFragment();
addEventListener("hashchange", () => secretIn(location.hash) && location.reload());
byId("look-again").addEventListener("click", wake);
start().catch(broken);

async function start() {
  const secret = secretIn(location.hash) ?? secretIn(`#${history.state?.secret}`);
  if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) return insecure(secret);
  only(ticket, "looking");
  const record = await remembered(id);
  if (record && (!secret || secret === record.secret)) await again(record);
  else if (secret) await look(secret);
  else nothing(null);
  await tidy();
}

/**
 * The secret that a fragment begins with: what chats append to a link is left out.
 *
 * @param {string} fragment
 */
function secretIn(fragment) {
  return /^#([\w-]{21}[AQgw])(?![\w-])/.exec(fragment)?.[1] ?? null;
}

/** Takes the secret out of the address; a reload still finds it. @param {string} secret */
function hideSecret(secret) {
  history.replaceState({ secret }, "", location.pathname);
}

/**
 * Asks until an answer comes, and says meanwhile that none does.
 *
 * @template T
 * @param {() => Promise<T>} act
 */
async function insist(act) {
  const answer = await new Backoff().insist(act, { waits: () => only(ticket, "unreachable") });
  only(ticket, "looking");
  return answer;
}

/** Looks at the share, as far as the link alone allows. @param {string} secret */
async function look(secret) {
  try {
    const seen = await insist(() => peek(id));
    if (seen.password) return askPassword(secret, seen);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // Of a share that ended, only its key learns more.
  }
  const keys = await deriveKeys(decode(secret));
  try {
    await open(secret, keys, await insist(() => peek(id, encode(keys.proof))));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    refused(error, secret);
  }
}

/**
 * Shows what the share holds, and offers it.
 *
 * @param {string} secret
 * @param {import("./lib/seal.js").Keys} keys
 * @param {import("./lib/api.js").Peek} seen
 */
async function open(secret, keys, seen) {
  const manifest = await openManifest(keys.manifest, decode(seen.manifest ?? ""), plainLength(seen.size) ?? undefined);
  show(manifest);
  showWaiting(seen);
  await offer({ id, secret, keys, size: seen.size, manifest });
}

/** @param {import("./lib/seal.js").Manifest} manifest */
function show(manifest) {
  headline(headingOf(manifest), t("receive.lede"));
  showManifest(manifest);
}

/**
 * Offers to take it. Nothing but a person's own click claims.
 *
 * @param {Share} share
 */
async function offer(share) {
  const how = await plan(share.manifest, plainSize(share.manifest));
  const button = /** @type {HTMLButtonElement} */ (byId("download"));
  button.textContent = t(isText(share.manifest) ? "receive.reveal" : "receive.submit");
  button.disabled = how.kind === "none";
  say(byId("how"), isText(share.manifest) && how.kind !== "none" ? "receive.how.text" : `receive.how.${how.kind}`);
  button.onclick = async (event) => {
    if (!event.isTrusted) return;
    if (await chosen(how)) await take(share, how);
  };
  showBelow("offer");
}

/** Has the person choose a place, where there must be one; false where they changed their mind. @param {import("./lib/transfer.js").Plan} how */
async function chosen(how) {
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
 */
function take(share, how) {
  return transfer(share, how, {
    granted() {
      hideSecret(share.secret);
      hideWaiting();
    },
    gone(problem, granted) {
      hideSecret(share.secret);
      if (granted && problem.reason === "lapsed") ended("lapsed", problem.at, "receive.lapsed");
      else ended(problem.reason, problem.at);
    },
  });
}

/** A share that this browser claimed before. @param {ClaimRecord} record */
async function again(record) {
  const { secret, keys, manifest, size } = record;
  if (record.state === "asked" || !manifest || size === undefined) return perhapsGranted(record);
  hideSecret(secret);
  show(manifest);
  const share = { id, secret, keys, size, manifest };
  if (record.state === "granted") return goOn(share);
  await hadBefore(share, record);
}

/**
 * The answer to a claim was lost. Where the share still waits, it takes another click; where it does not, the claim is asked
 * for again: that grants nothing new.
 *
 * @param {ClaimRecord} record
 */
async function perhapsGranted({ secret, keys, claim: token }) {
  const proof = encode(keys.proof);
  try {
    return await open(secret, keys, await insist(() => peek(id, proof)));
  } catch (error) {
    if (!(error instanceof ApiError) || error.reason !== "claimed") return refused(error, secret);
  }
  try {
    const granted = await insist(() => claim(id, proof, token));
    const manifest = await openManifest(keys.manifest, decode(granted.manifest), plainLength(granted.size) ?? undefined);
    show(manifest);
    await goOn({ id, secret, keys, size: granted.size, manifest });
  } catch (error) {
    refused(error, secret);
  }
}

/** Goes on with a claim that is granted: by itself, where no file has to be chosen for it. @param {Share} share */
async function goOn(share) {
  const how = await plan(share.manifest, plainSize(share.manifest));
  if (how.kind === "staged" || how.kind === "memory") return take(share, how);
  await offer(share);
  byId("download").textContent = t("receive.go_on");
}

/**
 * @param {Share} share
 * @param {ClaimRecord} record
 */
async function hadBefore(share, record) {
  if (!record.staged) return ended("finished", record.finishedAt, "receive.taken_here");
  const how = await plan(share.manifest, plainSize(share.manifest));
  const download = await receive({ ...share, how }, () => {});
  showArrived({ download, manifest: share.manifest, kind: "staged", fresh: false, isFinished: record.state === "finished", at: record.finishedAt });
}

/**
 * Asks for the password, and looks again with it.
 *
 * @param {string} secret
 * @param {import("./lib/api.js").Peek} seen
 */
function askPassword(secret, seen) {
  const form = /** @type {HTMLFormElement} */ (byId("locked"));
  const field = /** @type {HTMLInputElement} */ (byId("password"));
  headline(t("receive.title"), t("receive.lede"));
  showLocked(seen, plainLength(seen.size) ?? seen.size);
  let busy = false;
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    byId("unlock").textContent = t("receive.unlocking");
    try {
      const keys = await deriveKeys(decode(secret), field.value);
      await open(secret, keys, await peek(id, encode(keys.proof)));
      field.value = "";
      focus(byId("heading"));
    } catch (error) {
      wrong(error, field, secret);
    } finally {
      busy = false;
      byId("unlock").textContent = t("receive.unlock");
    }
  };
  showBelow("locked");
}

/**
 * Says at the field why the password did not open it.
 *
 * @param {unknown} error
 * @param {HTMLInputElement} field
 * @param {string} secret
 */
function wrong(error, field, secret) {
  const status = error instanceof ApiError ? error.status : 0;
  if (status === 404 || status === 410) return refused(error, secret);
  const message = byId("password-error");
  const after = error instanceof ApiError ? error.retryAfter : null;
  if (status === 403) say(message, "receive.password.wrong");
  else if (status === 429) say(message, "receive.password.until", { time: clock(Date.now() + (after ?? 60) * 1000) });
  else say(message, "receive.password.failed");
  message.hidden = false;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", message.id);
  field.select();
  field.focus();
  announce(message.textContent ?? "");
}

/** What the server says to one who has the key, and to everybody else. @param {unknown} error @param {string} secret */
function refused(error, secret) {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 410) {
    hideSecret(secret);
    ended(error.reason, error.at);
  } else nothing(secret);
}

/** The reasons that somebody took it. */
const TAKEN = ["claimed", "finished", "lapsed"];

/**
 * Tells one who has the key what became of it.
 *
 * @param {string | undefined} reason
 * @param {string | number | undefined} at
 * @param {import("./lib/text.js").Key} [happened] where it was this browser
 */
function ended(reason = "claimed", at = Date.now(), happened) {
  const isTaken = TAKEN.includes(reason);
  const heading = isTaken ? "gone.taken" : reason === "expired" ? "gone.expired" : "gone.revoked";
  headline(t(heading), "");
  say(byId("happened"), happened ?? /** @type {any} */ (`gone.happened.${reason}`), { time: timeElement(at) });
  say(byId("advice"), happened === "receive.taken_here" ? "receive.taken_here.advice" : isTaken && !happened ? "gone.taken.advice" : "gone.advice");
  conclude();
}

/** The same for a share that never was, one that is gone, and a key that is wrong. @param {string | null} secret */
function nothing(secret) {
  headline(t("receive.nothing"), "");
  say(byId("happened"), "receive.nothing.happened");
  say(byId("advice"), "receive.nothing.advice");
  conclude();
}

function conclude() {
  only(ticket, "ended");
  byId("after").hidden = false;
  focus(byId("heading"));
}

/** Unsealing takes WebCrypto, which browsers keep from plain http. @param {string | null} secret */
function insecure(secret) {
  if (!secret) return nothing(null);
  byId("insecure").hidden = false;
  byId("plain-link").setAttribute("href", `/s/${id}/${secret}`);
}

/** @param {string} heading @param {string} lede */
function headline(heading, lede) {
  byId("heading").textContent = document.title = heading;
  byId("lede").textContent = lede;
  byId("lede").hidden = !lede;
}

/** @param {unknown} error */
function broken(error) {
  console.error(error);
  headline(t("receive.broken"), "");
  say(byId("happened"), "receive.broken.happened");
  say(byId("advice"), "receive.broken.advice");
  conclude();
}
