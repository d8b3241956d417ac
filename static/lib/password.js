// Asks for a share's password, and looks whether it is the one. A wrong one uses nothing up.

import { ApiError } from "./api.js";
import { decode, deriveKeys } from "./seal.js";
import { t } from "./text.js";
import { announce, byId, clock, say } from "./ui.js";

/**
 * Has the form ask, until `look` finds that the password opens something.
 *
 * @param {string} secret base64url
 * @param {import("./text.js").Key} hint what stands below the field
 * @param {(keys: import("./seal.js").Keys) => Promise<void>} look throws what the server refuses
 */
export function askPassword(secret, hint, look) {
  const form = /** @type {HTMLFormElement} */ (byId("locked"));
  const field = /** @type {HTMLInputElement} */ (byId("password"));
  let busy = false;
  say(byId("password-hint"), hint);
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    say(byId("unlock"), "receive.unlocking");
    try {
      await look(await deriveKeys(decode(secret), field.value));
      field.value = "";
    } catch (error) {
      refuse(field, reason(error));
    } finally {
      busy = false;
      say(byId("unlock"), "receive.unlock");
    }
  };
}

/**
 * @param {unknown} error
 * @returns {string}
 */
function reason(error) {
  if (!(error instanceof ApiError) || error.foreign) return t("receive.password.failed");
  if (error.status === 403) return t("receive.password.wrong");
  if (error.status === 404) return t("receive.password.nothing");
  if (error.status === 429)
    return t("receive.password.until", { time: clock(Date.now() + (error.retryAfter ?? 60) * 1000) });
  return t("receive.password.failed");
}

/**
 * @param {HTMLInputElement} field
 * @param {string} why
 */
function refuse(field, why) {
  const message = byId("password-error");
  message.textContent = why;
  message.hidden = false;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", message.id);
  field.focus();
  field.select();
  announce(why);
}
