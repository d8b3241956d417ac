// What the pages' modules share: elements, words for numbers and times, copying.

import { language, t } from "./text.js";

/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no #${id} in this page`);
  return /** @type {T} */ (element);
}

/**
 * A copy of the one element in `<template id>`.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function clone(id) {
  const template = /** @type {HTMLTemplateElement} */ (/** @type {unknown} */ (byId(id)));
  return /** @type {HTMLElement} */ (document.importNode(template.content, true).firstElementChild);
}

/**
 * The one element in `scope` that carries `data-part="name"`.
 *
 * @template {HTMLElement} [T=HTMLElement]
 * @param {ParentNode} scope
 * @param {string} name
 * @returns {T}
 */
export function part(scope, name) {
  const element = scope.querySelector(`[data-part="${name}"]`);
  if (!element) throw new Error(`no part ${name}`);
  return /** @type {T} */ (element);
}

const UNITS = ["KiB", "MiB", "GiB", "TiB"];

/**
 * A size for people, as the server writes it: `195.3 KiB`, `3 MiB`.
 *
 * @param {number} bytes
 * @param {number} [digits] behind the point, at least: 1 keeps a number that grows from jumping
 */
export function size(bytes, digits = 0) {
  if (bytes < 1024) return t("bytes", { n: bytes });
  let value = bytes;
  let unit = -1;
  do {
    value /= 1024;
    unit += 1;
  } while (value >= 1023.95 && unit < UNITS.length - 1);
  const number = value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: 1 });
  return `${number} ${UNITS[unit]}`;
}

/**
 * A length of time for people, as the server writes it, in the largest unit that tells it well: `36 hours`, `2 days`.
 *
 * @param {number} seconds
 */
export function span(seconds) {
  /** @type {[number, Intl.NumberFormatOptions["unit"]][]} */
  const units = [[86_400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const whole = Math.floor(seconds);
  const [length, unit] = units.find(([length]) => whole >= 2 * length || whole === length) ?? units[3];
  return Math.floor(whole / length).toLocaleString(language, { style: "unit", unit, unitDisplay: "long" });
}

/** The reader's own form of the page's language: one English writes 2 PM, another 14:00. */
const region = navigator.languages?.find((tag) => tag.split("-")[0] === language) ?? language;

/**
 * A moment for people, in their own time zone.
 *
 * @param {string | number | Date} moment
 */
export const time = (moment) =>
  new Date(moment).toLocaleString(region, { dateStyle: "long", timeStyle: "short" });

/**
 * The same of a moment near by: the time of day alone where it is today.
 *
 * @param {string | number | Date} moment
 */
export function clock(moment) {
  const at = new Date(moment);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString(region, { timeStyle: "short" }) : time(at);
}

/**
 * A moment as an element.
 *
 * @param {string | number | Date} moment
 */
export function timeElement(moment) {
  const element = document.createElement("time");
  element.dateTime = new Date(moment).toISOString();
  element.textContent = time(moment);
  return element;
}

/**
 * Says `key` in `element`. Values may be nodes: they stand where `{name}` is.
 *
 * @param {HTMLElement} element
 * @param {import("./text.js").Key} key
 * @param {Record<string, string | number | Node>} [values]
 */
export function say(element, key, values = {}) {
  /** @type {Record<string, Node>} */
  const nodes = {};
  /** @type {Record<string, string | number>} */
  const words = {};
  for (const [name, value] of Object.entries(values)) {
    if (value instanceof Node) nodes[name] = value;
    else words[name] = value;
  }
  const pieces = t(key, words).split(/\{(\w+)\}/);
  element.replaceChildren(...pieces.map((piece, at) => (at % 2 ? (nodes[piece] ?? piece) : piece)));
}

/**
 * Says a fact of a list of facts, or hides it where there is nothing to say.
 *
 * @param {string} id
 * @param {string | Node | null} value
 */
export function fact(id, value) {
  const element = byId(id);
  if (value !== null) element.replaceChildren(value);
  /** @type {HTMLElement} */ (element.closest("div")).hidden = value === null;
}

/**
 * Shows those of `scope`'s children that have these ids, and hides the others.
 *
 * @param {HTMLElement} scope
 * @param {string[]} ids
 */
export function only(scope, ...ids) {
  for (const child of scope.children) /** @type {HTMLElement} */ (child).hidden = !ids.includes(child.id);
}

/**
 * Moves the keyboard to what the page is about now; screen readers read it out.
 *
 * @param {HTMLElement} element
 */
export function focus(element) {
  element.tabIndex = -1;
  element.focus();
}

/**
 * Has screen readers read `text` out, after what they are saying.
 *
 * @param {string} text
 */
export function announce(text) {
  byId("status").textContent = text;
}

/**
 * Makes `button` copy what `text` gives, and say so for two seconds.
 *
 * @param {HTMLElement} button
 * @param {() => string} text
 * @param {() => void} [failed] shows it, where it has to be copied by hand
 */
export function copies(button, text, failed) {
  const label = button.textContent;
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = t("copied");
    } catch {
      button.textContent = t("copy.failed");
      failed?.();
    }
    announce(button.textContent);
    clearTimeout(timer);
    timer = setTimeout(() => (button.textContent = label), 2000);
  });
}
