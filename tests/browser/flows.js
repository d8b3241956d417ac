// What people do on the pages, step by step.

import assert from "node:assert/strict";
import { createHash, randomFillSync } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("./proxy.js").Request} Request */

export const MEBIBYTE = 1024 * 1024;

/** What browsers say of answers with which the server refuses, as it should. */
export const REFUSED = /Failed to load resource: the server responded with a status of 4(03|04|10|29)/;
/** What they say of connections that break. */
export const BROKEN = /Failed to load resource: net::ERR_/;

/**
 * What is sent, and how.
 *
 * @typedef {object} Gift
 * @property {Parameters<import("playwright-core").Locator["setInputFiles"]>[0]} [files] where they lie, or what lies nowhere
 * @property {string} [folder] a folder, chosen as one
 * @property {string} [text]
 * @property {string} [note]
 * @property {string} [password]
 * @property {number} [downloads]
 */

/**
 * Opens the page that sends, and fills in its form.
 *
 * @param {Page} page
 * @param {string} address of the server
 * @param {Gift} gift
 */
export async function prepare(page, address, { files, folder, text, note, password, downloads }) {
  await page.goto(`${address}/`);
  // The form takes files as soon as its script has taken it over.
  await page.getByRole("button", { name: "Choose a folder" }).waitFor();
  if (files) await page.getByLabel(/^Files/).setInputFiles(files);
  if (folder) {
    const button = page.getByRole("button", { name: "Choose a folder" });
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), button.click()]);
    await chooser.setFiles(folder);
  }
  if (text) {
    await page.getByText(/Send a text instead|Add a text/).click();
    await page.getByLabel("Text", { exact: true }).fill(text);
  }
  if (note) await page.getByLabel("Note to the recipient").fill(note);
  if (password) await passwordOf(page).fill(password);
  if (downloads) await page.getByLabel("Downloads").fill(String(downloads));
}

/** The field for a password, on any page. @param {Page} page */
export const passwordOf = (page) => page.getByLabel(/^Password/).and(page.locator("input"));

/** Presses Send. @param {Page} page */
export const send = (page) => page.getByRole("button", { name: "Send", exact: true }).click();

/**
 * Waits for the result of an upload; gives its links.
 *
 * @param {Page} page
 * @param {number} [timeout] milliseconds
 */
export async function result(page, timeout = 30_000) {
  await page.getByRole("heading", { name: "Ready to be taken." }).waitFor({ timeout });
  const link = await page.getByLabel("Link", { exact: true }).inputValue();
  const receipt = await page.getByLabel("Receipt link").inputValue();
  return { link, receipt };
}

/**
 * Sends with the page's script; gives the links.
 *
 * @param {Page} page
 * @param {string} address of the server
 * @param {Gift} gift
 * @param {number} [timeout] milliseconds
 */
export async function give(page, address, gift, timeout) {
  await prepare(page, address, gift);
  await send(page);
  return result(page, timeout);
}

/**
 * Opens a link; gives the button that takes what is there.
 *
 * @param {Page} page
 * @param {string} link
 * @param {{ password?: string }} [options]
 */
export async function look(page, link, { password } = {}) {
  await page.goto(link);
  if (password) {
    await passwordOf(page).fill(password);
    await page.getByRole("button", { name: "Open", exact: true }).click();
  }
  const button = page.getByRole("button", { name: /^(Download|Reveal the text)$/ });
  await button.waitFor();
  return button;
}

/**
 * Waits until a download has arrived; gives the file that the browser saved.
 *
 * @param {Page} page
 * @param {() => Promise<unknown>} begin
 * @param {number} [timeout] milliseconds
 */
export async function arrive(page, begin, timeout = 30_000) {
  const [file] = await Promise.all([page.waitForEvent("download", { timeout }), begin()]);
  await page.getByRole("heading", { name: "Arrived" }).waitFor();
  return { name: file.suggestedFilename(), path: await file.path() };
}

/**
 * Opens a link, and takes what is there.
 *
 * @param {Page} page
 * @param {string} link
 * @param {{ password?: string }} [options]
 */
export async function take(page, link, options) {
  const button = await look(page, link, options);
  return arrive(page, () => button.click());
}

/** The receipt's stamp, once it is one of those. @param {Page} page @param {string} receipt @param {RegExp} wanted */
export async function stamped(page, receipt, wanted) {
  if (page.url() !== receipt) await page.goto(receipt);
  await page.locator("#state").filter({ hasText: wanted }).waitFor();
}

/**
 * Writes a file of random bytes.
 *
 * @param {string} path
 * @param {number} size bytes
 */
export async function randomFile(path, size) {
  const file = await open(path, "w");
  const piece = Buffer.alloc(Math.min(size, 8 * MEBIBYTE));
  for (let left = size; left > 0; left -= piece.length) await file.write(randomFillSync(piece).subarray(0, left));
  await file.close();
  return path;
}

/** @param {string} path */
export async function sha256(path) {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path, { highWaterMark: MEBIBYTE })) hash.update(piece);
  return hash.digest("hex");
}

/** Fails unless both files have the same bytes. @param {string} one @param {string} other */
export async function assertSame(one, other) {
  assert.equal(await sha256(one), await sha256(other), `${one} and ${other} differ`);
}

/**
 * How many bytes of an upload passed more than once.
 *
 * @param {Request[]} requests
 */
export function sentTwice(requests) {
  const patches = requests.filter(({ method }) => method === "PATCH");
  assert.ok(patches.length > 0, "nothing was uploaded");
  const pieces = patches.map(({ headers, sent }) => ({ from: Number(headers["upload-offset"]), sent }));
  const end = Math.max(...pieces.map(({ from, sent }) => from + sent));
  return pieces.reduce((sum, { sent }) => sum + sent, 0) - end;
}

/** Requests for a claim's bytes. @param {Request[]} requests */
export function reads(requests) {
  return requests.filter(({ method, target }) => method === "GET" && /^\/api\/v1\/shares\/\w+\/claims\//.test(target));
}

/** The first byte that a request asks for. @param {Request} request */
export const rangeOf = ({ headers }) => Number(/^bytes=(\d+)-/.exec(headers.range ?? "bytes=0-")?.[1]);
