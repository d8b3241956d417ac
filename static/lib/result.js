// What the sender has after an upload: the link to give away, and the receipt to keep.

import { linkOf, namesOf, receiptOf } from "./share.js";
import { language, t } from "./text.js";
import { byId, clone, copies, focus, part, size, timeElement } from "./ui.js";

/** @typedef {import("./remember.js").ShareRecord} ShareRecord */

/** Free modules around a QR code (ISO/IEC 18004 §6.3.8). */
const QUIET = 4;
const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {HTMLElement} place
 * @param {ShareRecord} share
 * @param {string} password empty where there is none, or it is not known any more
 * @param {() => void} again sends another
 */
export function showResult(place, share, password, again) {
  const result = clone("result");
  const at = (/** @type {string} */ name) => part(result, name);
  at("what").textContent = `${namesOf(share)}, ${size(share.size)}`;
  at("until").append(timeElement(share.expiresAt));
  at("downloads").textContent = share.downloads.toLocaleString(language);
  at("needed").hidden = !share.password || password !== "";
  at("password").hidden = password === "";
  keeps(result, "link", linkOf(share));
  keeps(result, "receipt", receiptOf(share));
  keeps(result, "told", password, "password");
  part(result, "open-receipt").setAttribute("href", receiptOf(share));
  at("again").addEventListener("click", again);
  offerSheet(at("share"), linkOf(share));
  offerCode(/** @type {HTMLDetailsElement} */ (at("code")), at("picture"), linkOf(share));
  place.replaceChildren(result);
  byId("heading").textContent = t("result.heading");
  byId("lede").textContent = t("result.lede", { n: share.downloads });
  document.title = `${t("result.title")} · OneTimeShare`;
  scrollTo(0, 0);
  focus(byId("heading"));
}

/**
 * A field that only gives: all of it is selected as soon as one enters it, and a button copies it.
 *
 * @param {HTMLElement} result
 * @param {string} name
 * @param {string} value
 * @param {string} [button]
 */
function keeps(result, name, value, button = name) {
  const field = /** @type {HTMLInputElement} */ (part(result, name));
  field.value = value;
  field.addEventListener("focus", () => field.select());
  copies(part(result, `copy-${button}`), () => value, () => field.select());
}

/**
 * The share sheet of phones, and of some desks.
 *
 * @param {HTMLElement} button
 * @param {string} url
 */
function offerSheet(button, url) {
  if (!navigator.canShare?.({ url })) return;
  button.hidden = false;
  // Whoever closes the sheet has said no; there is nothing to say about it.
  button.addEventListener("click", () => navigator.share({ url }).catch(() => {}));
}

/**
 * The link as a QR code: at once where there is room, else when it is unfolded. It is drawn here, since the server may not
 * see the secret.
 *
 * @param {HTMLDetailsElement} details
 * @param {HTMLElement} place
 * @param {string} link
 */
function offerCode(details, place, link) {
  details.addEventListener("toggle", async () => {
    if (!details.open || place.hasChildNodes()) return;
    const { generate } = await import("../vendor/lean-qr.mjs");
    place.replaceChildren(drawn(generate(link)));
  });
  details.open = matchMedia("(min-width: 48rem)").matches;
}

/** @param {{ size: number, get(x: number, y: number): boolean }} code */
function drawn({ size, get }) {
  let path = "";
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) if (get(x, y)) path += `M${x} ${y}h1v1h-1z`;
  }
  const side = size + 2 * QUIET;
  const picture = element("svg", { viewBox: `${-QUIET} ${-QUIET} ${side} ${side}`, role: "img", "shape-rendering": "crispEdges" });
  picture.setAttribute("aria-label", t("result.code.alt"));
  picture.append(element("path", { d: path }));
  return picture;
}

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 */
function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
