// A share as its sender knows it: its two addresses, and what it holds in a few words.

import { visible } from "./names.js";
import { t } from "./text.js";

/**
 * What the recipient gets. What follows # never leaves the browser.
 *
 * @param {{ id: string, secret: string }} share
 */
export const linkOf = ({ id, secret }) => `${location.origin}/s/${id}#${secret}`;

/**
 * What the sender keeps.
 *
 * @param {{ id: string, owner: string }} share
 */
export const receiptOf = ({ id, owner }) => `${location.origin}/r/${id}#${owner}`;

/**
 * What a share holds, in a few words.
 *
 * @param {{ text: boolean, names: string[], files: number }} share
 */
export function namesOf({ text, names, files }) {
  if (text) return t("shares.text");
  const name = visible(names[0] ?? "");
  return files > 1 ? t("send.names", { name, n: files - 1 }) : name;
}

/**
 * The same of a manifest.
 *
 * @param {import("./seal.js").Manifest} manifest
 */
export const contentsOf = ({ files }) =>
  namesOf({ text: files[0]?.kind === "text", names: files.map(({ name }) => name), files: files.length });
