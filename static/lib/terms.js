// On what terms something is shared: for how long, how often, and with which password.

import { generated } from "./generate.js";
import { t } from "./text.js";
import { announce, byId } from "./ui.js";

/** Where this browser remembers what was chosen last; never password or note. */
const CHOICES = "onetimeshare.choices";

const lifetime = /** @type {HTMLSelectElement} */ (byId("expires_in"));
const downloads = /** @type {HTMLInputElement} */ (byId("downloads"));
const password = /** @type {HTMLInputElement} */ (byId("password"));
const note = /** @type {HTMLTextAreaElement} */ (byId("note"));

/** Makes the fields explain themselves, and remember. */
export function settle() {
  for (const field of [lifetime, downloads]) field.addEventListener("input", promise);
  byId("show").addEventListener("click", () => show(password.type === "password"));
  byId("generate").addEventListener("click", generate);
  recall();
}

/** What holds now. */
export const terms = () => ({
  expiresIn: Number(lifetime.value),
  downloads: Number(downloads.value),
  password: password.value,
  note: note.value.trim(),
});

/** Says what the choices amount to. */
function promise() {
  const [option] = lifetime.selectedOptions;
  byId("deal").textContent = t("send.deal", { n: Number(downloads.value) || 1, span: option?.textContent ?? "" });
}

/** Chooses what was chosen the last time, as far as the server still offers it; no password is on show. */
export function recall() {
  try {
    const choices = JSON.parse(localStorage.getItem(CHOICES) ?? "{}");
    if ([...lifetime.options].some(({ value }) => value === choices.lifetime)) lifetime.value = choices.lifetime;
    if (Number(choices.downloads) <= Number(downloads.max)) downloads.value = choices.downloads;
  } catch {
    // Nothing that can be read: the server's defaults stay.
  }
  show(false);
  promise();
}

/** Remembers what is chosen, for the next time. */
export function remember() {
  try {
    localStorage.setItem(CHOICES, JSON.stringify({ lifetime: lifetime.value, downloads: downloads.value }));
  } catch {
    // A browser that keeps nothing.
  }
}

/** @param {boolean} shown */
function show(shown) {
  password.type = shown ? "text" : "password";
  byId("show").textContent = t(shown ? "send.hide" : "send.show");
}

function generate() {
  password.value = generated();
  show(true);
  password.select();
  announce(t("send.generated"));
}
