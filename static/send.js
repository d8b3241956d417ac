// The page that sends: what is chosen, and what comes of it.

import { Chosen } from "./lib/chosen.js";
import { acceptDrops } from "./lib/drops.js";
import { choose, ofBlob, ofClipboard, ofInput } from "./lib/files.js";
import { visible } from "./lib/names.js";
import { all, forget, get } from "./lib/remember.js";
import { showResult } from "./lib/result.js";
import { watch } from "./lib/sending.js";
import { contentsOf, namesOf } from "./lib/share.js";
import { recall, remember, settle, terms } from "./lib/terms.js";
import { t } from "./lib/text.js";
import { announce, byId, size } from "./lib/ui.js";
import { goOn, send } from "./lib/upload.js";

/** @typedef {import("./lib/files.js").Source} Source */
/** @typedef {import("./lib/remember.js").UploadRecord} UploadRecord */

const form = /** @type {HTMLFormElement} */ (byId("send"));
const file = /** @type {HTMLInputElement} */ (byId("file"));
const text = /** @type {HTMLTextAreaElement} */ (byId("text"));
const limit = Number(form.dataset.maxSize);
const chosen = new Chosen(byId("chosen"), reconsider);
/** @type {import("./lib/shares.js").Shares | undefined} */
let shares;

if (globalThis.isSecureContext && globalThis.crypto?.subtle) begin();
else stayPlain();

function begin() {
  arrange();
  settle();
  form.addEventListener("submit", submit);
  file.addEventListener("change", takeChosen);
  // Somebody may have been quicker than this script.
  takeChosen();
  byId("folder").addEventListener("click", () => choose(true, take));
  text.addEventListener("input", reconsider);
  acceptDrops(() => !form.hidden, ({ sources, empty, unreadable }) => {
    take(sources);
    leftOut("send.empty", empty);
    leftOut("send.unreadable", unreadable);
  });
  document.addEventListener("paste", paste);
  waiting();
  takeShared();
  void tidyClaims().catch(() => {});
  if (document.readyState === "complete") offerToPhones();
  else addEventListener("load", offerToPhones);
}

function takeChosen() {
  take(ofInput(file));
  // Choosing again adds, the same file too.
  file.value = "";
}

/** Files first: only a form without scripts has to settle everything before them. */
function arrange() {
  form.prepend(byId("what"), /** @type {Element} */ (form.querySelector(".tear")));
  byId("terms").firstElementChild?.append(/** @type {Element} */ (byId("password").closest(".field")));
  byId("sealing").textContent = t("send.sealing");
  form.dataset.ready = "";
}

/** Here a browser can't seal: the form stays as it is without scripts. */
function stayPlain() {
  form.dataset.plain = "";
  byId("sealing").textContent = t("send.insecure");
}

/* What is sent. */

/** @param {Source[]} sources */
function take(sources) {
  byId("remark").textContent = "";
  if (sources.length === 0) return;
  chosen.add(sources);
  announce(chosen.sum);
}

/**
 * @param {"send.empty" | "send.unreadable"} key
 * @param {string[]} names
 */
function leftOut(key, names) {
  if (names.length > 0) byId("remark").textContent += ` ${t(key, { n: names.length, name: visible(names[0]) })}`;
}

/** @param {ClipboardEvent} event */
function paste(event) {
  const { target, clipboardData } = event;
  const words = clipboardData?.getData("text/plain") ?? "";
  const files = ofClipboard(clipboardData);
  const writing = target instanceof Element && target.closest("input:not([type=file]), textarea") !== null;
  // Where one writes, text is what is meant.
  if (form.hidden || (writing && (words !== "" || files.length === 0))) return;
  if (files.length > 0) take(files);
  else if (words !== "") write(words);
  else return;
  event.preventDefault();
}

/** @param {string} words */
function write(words) {
  /** @type {HTMLDetailsElement} */ (byId("instead")).open = true;
  text.value += words;
  text.focus();
  reconsider();
}

/** From now on a phone's share menu can hand things to this page. */
async function offerToPhones() {
  try {
    const { serviceWorker } = await import("./lib/service.js");
    await serviceWorker();
  } catch {
    // A browser without service workers has no such menu either, and the next visit tries again.
  }
}

/** What a phone's share menu handed to the service worker. */
async function takeShared() {
  const id = new URLSearchParams(location.search).get("shared");
  if (id === null) return;
  history.replaceState(null, "", "/");
  const shared = await get("shared", id).catch(() => undefined);
  if (!shared) {
    byId("remark").textContent = t("send.shared.failed");
    return;
  }
  take(shared.files.map((file) => ofBlob(file, file.name)));
  if (shared.text) write(shared.text);
  await forget("shared", id);
}

/** All files, and the text beside them as one of them. */
function sources() {
  if (chosen.sources.length === 0 || text.value === "") return chosen.sources;
  return [...chosen.sources, ofBlob(new Blob([text.value], { type: "text/plain; charset=utf-8" }), t("send.text.name"))];
}

/** What is chosen is another: what was said about it may be past. Gives whether it can be sent. */
function reconsider() {
  const summary = /** @type {HTMLElement} */ (byId("instead").firstElementChild);
  summary.textContent = t(chosen.sources.length > 0 ? "send.as_well" : "send.instead");
  const excess = chosen.size + new Blob([text.value]).size - limit;
  complain(excess > 0 ? t("send.over", { size: size(excess), max: size(limit) }) : "");
  return excess <= 0;
}

/** @param {string} problem */
function complain(problem) {
  const place = byId("problem");
  if (place.textContent !== problem) place.textContent = problem;
  file.setAttribute("aria-invalid", String(problem !== ""));
}

/* What comes of it. */

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  if (!reconsider()) return file.focus();
  const files = sources();
  if (files.length === 0 && text.value === "") {
    complain(t("send.nothing"));
    return file.focus();
  }
  remember();
  const order = { ...terms(), sources: files, text: files.length > 0 ? undefined : text.value, part: Number(form.dataset.part) };
  const names = files.map(({ name }) => name);
  const what = namesOf({ text: files.length === 0, names, files: names.length });
  await run(what, order.password, (told) => send(order, told));
}

/**
 * Shows an upload in place of the form, and then what came of it.
 *
 * @param {string} what in words
 * @param {string} password where it is known
 * @param {Parameters<typeof watch>[2]} begin
 */
async function run(what, password, begin) {
  form.hidden = true;
  byId("remark").textContent = "";
  byId("unfinished-place").hidden = true;
  const { phase, share } = await watch(/** @type {HTMLElement} */ (form.parentElement), what, begin);
  if (share) return finished(share, password);
  form.hidden = byId("unfinished-place").hidden = false;
  if (phase === "cancelled") byId("remark").textContent = t("send.cancelled");
  await waiting();
  byId("submit").focus();
}

/**
 * @param {import("./lib/remember.js").ShareRecord} share
 * @param {string} password
 */
function finished(share, password) {
  byId("start").hidden = true;
  document.body.dataset.view = "result";
  showResult(byId("result-place"), share, password, another);
  showShares();
}

/** The form as it was in the beginning. */
function another() {
  byId("result-place").replaceChildren();
  delete document.body.dataset.view;
  document.title = "OneTimeShare";
  byId("heading").textContent = t("send.heading");
  byId("lede").textContent = t("send.lede");
  form.reset();
  chosen.clear();
  recall();
  form.hidden = byId("unfinished-place").hidden = false;
  byId("start").hidden = false;
  waiting();
  file.focus();
}

/** Shows the uploads that wait to go on, and what became of others. Most visitors have neither. */
async function waiting() {
  showShares();
  const place = byId("unfinished-place");
  if (!(await remembers("uploads"))) return place.replaceChildren();
  const { showUnfinished } = await import("./lib/unfinished.js");
  const again = (/** @type {UploadRecord} */ record, /** @type {Source[] | null} */ files) =>
    run(contentsOf(record.manifest), "", (told) => goOn(record, files, told));
  await showUnfinished(place, again, waiting);
}

/** What was received here goes after its day, whichever page is visited then. */
async function tidyClaims() {
  if (!(await remembers("claims"))) return;
  const { tidy } = await import("./lib/download.js");
  await tidy();
}

async function showShares() {
  if (!shares && !(await remembers("shares"))) return;
  const { Shares } = await import("./lib/shares.js");
  shares ??= new Shares(byId("shares-place"));
  await shares.refresh();
}

/**
 * Whether there is anything of a kind. A browser that keeps nothing has none.
 *
 * @param {"uploads" | "shares" | "claims"} store
 */
function remembers(store) {
  return all(store).then(
    (records) => records.length > 0,
    () => false,
  );
}
