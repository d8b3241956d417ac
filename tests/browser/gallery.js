// Every page in every state that one can bring about in a minute.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { sent } from "./harness.js";

const NOTE = "Hi Ada,\nthe contract, and the photos of the day. Please look at page 4 first.";

/**
 * Brings the pages about.
 *
 * @param {string} server
 * @returns {Promise<[string, (page: import("playwright-core").Page) => Promise<unknown>][]>} names, and how to get there
 */
export async function gallery(server) {
  const send = (names, fields = {}) => sent(server, names.map((name) => [name, Buffer.alloc(40_000, name)]), fields);
  const one = await send(["Contract Lovelace.pdf"], { note: NOTE });
  const many = await send([...Array(15).keys()].map((number) => `Photos/Summer/IMG_${4711 + number}.jpg`), { downloads: "5" });
  const locked = await send(["secret.txt"], { password: "p" });
  const guessed = await send(["guessed.txt"], { password: "p" });
  const [taken, arrived, partly, revoked, expired] = await Promise.all([
    send(["taken.txt"]),
    send(["arrived.txt"]),
    send(["partly.txt"], { downloads: "3" }),
    send(["revoked.txt"]),
    send(["expired.txt"], { expires_in: "1" }),
  ]);
  await fetch(await claim(taken)).then((answer) => answer.arrayBuffer());
  await claim(partly);
  const bytes = await claim(arrived);
  await fetch(bytes).then((answer) => answer.arrayBuffer());
  const [, , id, token] = new URL(bytes).pathname.split("/");
  assert.equal((await fetch(`${server}/api/v1/shares/${id}/claims/${token}`, { method: "DELETE" })).status, 204);
  assert.equal((await fetch(revoked.receipt, { method: "DELETE" })).status, 204);
  for (let guess = 0; guess < 11; guess += 1) {
    await fetch(guessed.plain_link, { method: "POST", body: new URLSearchParams({ password: `no ${guess}` }), redirect: "manual" });
  }
  while ((await fetch(expired.plain_link)).status !== 410) await pause(100);

  const at = (address) => (page) => page.goto(address);
  const guess = (share) => async (page) => {
    await page.goto(share.plain_link);
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Download" }).click();
    await page.locator("#password-error").waitFor();
  };
  const form = (fields) => async (page) => {
    await page.goto(`${server}/`);
    for (const [label, value] of Object.entries(fields)) await page.getByLabel(label).fill(value);
    await page.getByText("Send a text instead").click();
    await page.getByLabel("Text", { exact: true }).fill("The key lies under the mat.");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByRole("heading", { name: "Ready to be taken." }).waitFor();
  };
  return [
    ["send", at(`${server}/`)],
    ["send-text", (page) => page.goto(`${server}/`).then(() => page.getByText("Send a text instead").click())],
    ["result", form({})],
    ["result-password", form({ Password: "p", Downloads: "3" })],
    ["receive", at(one.plain_link)],
    ["receive-many", (page) => page.goto(many.plain_link).then(() => page.locator("summary").click())],
    ["receive-locked", at(locked.plain_link)],
    ["receive-wrong", guess(locked)],
    ["receive-too-many", guess(guessed)],
    ["gone-taken", at(taken.plain_link)],
    ["gone-revoked", at(revoked.plain_link)],
    ["gone-expired", at(expired.plain_link)],
    ["sealed", at(one.link)],
    ["sealed-receipt", at(`${server}/r/${one.id}`)],
    ["receipt-waiting", at(one.receipt)],
    ["receipt-more", at(partly.receipt)],
    ["receipt-taken", at(taken.receipt)],
    ["receipt-arrived", at(arrived.receipt)],
    ["receipt-guessed", at(guessed.receipt)],
    ["receipt-revoked", at(revoked.receipt)],
    ["receipt-expired", at(expired.receipt)],
    ["status", at(`${server}/status`)],
    ["error", at(`${server}/no/such/page`)],
  ];
}

/** Claims as curl does; gives the address of the bytes. */
async function claim(share) {
  const answer = await fetch(share.plain_link, { method: "POST", redirect: "manual" });
  assert.equal(answer.status, 303);
  return new URL(answer.headers.get("location"), share.plain_link).href;
}
