// Every page in every state that one can bring about in a minute: first without JavaScript, then with it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

import { decode, deriveKeys, encode, randomToken } from "../../static/lib/seal.js";
import { randomFile } from "./flows.js";
import { sent } from "./harness.js";

const NOTE = "Hi Ada,\nthe contract, and the photos of the day. Please look at page 4 first.";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {[name: string, visit: (page: Page) => Promise<unknown>][]} States names, and how to get there */

/**
 * Brings about the pages without JavaScript.
 *
 * @param {string} server
 * @returns {Promise<States>}
 */
export async function plainGallery(server) {
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

/**
 * Brings about the pages with JavaScript, in whatever language: each in a context of its own.
 *
 * @param {import("./harness.js").Scene} scene
 * @returns {Promise<States>}
 */
export async function modernGallery({ server, proxy, folder }) {
  const film = await randomFile(join(folder, "Film.mp4"), 40_000_000);
  const file = (name, size) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.alloc(size, name) });
  const three = [file("Contract Lovelace.pdf", 400_000), file("Photos/Sommer ☀️.jpg", 3_000_000), file("notes.txt", 12)];

  /** @param {Page} page @param {Record<string, any>} gift */
  const form = async (page, { files = three, text = "", note = "", password = "", downloads = 1, address = server } = {}) => {
    await page.goto(`${address}/`);
    await page.locator("#folder").waitFor();
    if (files.length > 0) await page.locator("#file").setInputFiles(files);
    if (text) {
      await page.locator("#instead summary").click();
      await page.locator("#text").fill(text);
    }
    await page.locator("#note").fill(note);
    await page.locator("#password").fill(password);
    await page.locator("#downloads").fill(String(downloads));
  };
  const given = async (page, gift) => {
    await form(page, gift);
    await page.locator("#submit").click();
    await page.locator("#link").waitFor();
    return { link: await page.locator("#link").inputValue(), receipt: await page.locator("#receipt").inputValue() };
  };
  /** Sends on another page of the same browser; goes to the link, or to the receipt. */
  const sentAnd = (gift, way) => async (page) => {
    const sender = await page.context().newPage();
    const links = await given(sender, gift);
    await sender.close();
    return way(page, links);
  };
  const looked = async (page, { link }) => {
    await page.goto(link);
    await page.locator("#download").or(page.locator("#locked")).filter({ visible: true }).first().waitFor();
  };
  const taken = async (page, links) => {
    await looked(page, links);
    await Promise.all([page.waitForEvent("download"), page.locator("#download").click()]);
    await page.locator("#done").waitFor();
  };
  const guessed = (times) => async (page, links) => {
    await looked(page, links);
    for (let guess = 0; guess < times; guess += 1) {
      await page.locator("#password").fill(`no ${guess}`);
      await Promise.all([page.waitForResponse(/\/api\/v1\/shares\//), page.locator("#unlock").click()]);
      await page.locator("#password-error").waitFor();
    }
  };
  const revoked = async (page, { receipt }) => {
    await page.goto(receipt);
    await page.locator("#revoke-first").click();
    await page.locator("#revoke-yes").click();
    await page.locator('#state[data-state="revoked"], #timeline').first().waitFor();
    await page.locator("#revoke").waitFor({ state: "hidden" });
  };
  /** An upload on a slow line, as soon as something of it has passed. */
  const sending = (after) => async (page) => {
    const between = await proxy();
    await form(page, { address: between.address, files: film });
    between.throttle(500_000, ["up"]);
    const before = between.bytes.up;
    await page.locator("#submit").click();
    await between.passed("up", before + 1_500_000);
    await after?.(page, between);
  };
  /** A download on a slow line, as soon as something of it has passed. */
  const receiving = (after) => async (page) => {
    const between = await proxy();
    await sentAnd({ address: between.address, files: film }, async (_, links) => {
      await looked(page, links);
      between.throttle(500_000, ["down"]);
      const before = between.bytes.down;
      await page.locator("#download").click();
      await between.passed("down", before + 1_500_000);
      await after?.(page, between);
    })(page);
  };
  const phase = (name) => `.sending[data-phase="${name}"]`;

  return [
    ["send", (page) => form(page, { files: [] })],
    ["send-text", (page) => form(page, { files: [], text: "The key lies under the mat." })],
    ["send-chosen", (page) => form(page, { note: NOTE, password: "correct horse", downloads: 3 })],
    ["send-nothing", (page) => form(page, { files: [] }).then(() => page.locator("#submit").click())],
    ["sending", sending()],
    ["sending-paused", sending((page) => page.locator('.sending [data-part="pause"]').click().then(() => page.locator(phase("paused")).waitFor()))],
    ["sending-waiting", sending((page, between) => between.refuse().then(() => page.locator(phase("waiting")).waitFor()))],
    ["sending-cancel", sending((page) => page.locator('.sending [data-part="cancel"]').click().then(() => page.locator("dialog").waitFor()))],
    ["send-unfinished", sending((page) => page.reload().then(() => page.locator(".unfinished").waitFor()))],
    ["result", (page) => given(page, {}).then(() => unfold(page, '[data-part="code"]', '[data-part="picture"] svg'))],
    ["result-password", (page) => given(page, { password: "correct horse", downloads: 3 })],
    ["shares", sentAnd({}, (page) => sentAnd({ text: "x", files: [] }, revoked)(page).then(() => page.goto(`${server}/`)).then(() => page.locator('.shares [data-state="revoked"]').waitFor()))],
    ["receive", sentAnd({ files: [three[0]], note: NOTE }, looked)],
    ["receive-many", sentAnd({ files: [...Array(15).keys()].map((at) => file(`IMG_${4711 + at}.jpg`, 10_000)) }, (page, links) => looked(page, links).then(() => page.locator("#more summary").click()))],
    ["receive-text", sentAnd({ files: [], text: "The key lies under the mat." }, looked)],
    ["receive-locked", sentAnd({ password: "p" }, looked)],
    ["receive-wrong", sentAnd({ password: "p" }, guessed(1))],
    ["receive-too-many", sentAnd({ password: "p" }, guessed(11))],
    ["receiving", receiving()],
    ["receiving-paused", receiving((page) => page.locator("#pause").click().then(() => page.locator("#go-on").waitFor()))],
    ["receiving-waiting", receiving((page, between) => between.refuse().then(() => page.locator("#problem").waitFor()))],
    ["receiving-stopped", async (page) => {
      const between = await proxy();
      between.tamper(({ target }) => /\/claims\/[^/]+$/.test(target), (answer) => ({ ...answer, body: Buffer.from(answer.body.map((byte) => byte ^ 1)) }));
      await sentAnd({ address: between.address, files: [three[0]] }, (_, links) => looked(page, links))(page);
      await page.locator("#download").click();
      await page.locator("#problem").waitFor();
    }],
    ["receive-insecure", sentAnd({ files: [three[2]] }, async (page, { link }) => {
      await page.addInitScript(() => Object.defineProperty(Crypto.prototype, "subtle", { value: undefined }));
      await page.goto(link);
      await page.locator("#insecure").waitFor();
    })],
    ["arrived", sentAnd({ files: [three[0]] }, taken)],
    ["arrived-many", sentAnd({}, (page, links) => taken(page, links).then(() => page.locator("#single summary").click()))],
    ["text", sentAnd({ files: [], text: "The key lies\nunder the mat." }, (page, links) => looked(page, links).then(() => page.locator("#download").click()).then(() => page.locator("#revealed").waitFor()))],
    ["gone-taken", sentAnd({ files: [three[2]] }, async (page, { link }) => {
      await claimByApi(server, link);
      await page.goto(link);
      await page.locator("#happened").filter({ visible: true }).waitFor();
    })],
    ["gone-revoked", sentAnd({ files: [three[2]] }, async (page, links) => {
      await revoked(page, links);
      await page.goto(links.link);
      await page.locator("#ended").waitFor();
    })],
    ["nothing", (page) => page.goto(`${server}/s/00000000000040008000000000000000#AAAAAAAAAAAAAAAAAAAAAA`).then(() => page.locator("#ended").waitFor())],
    ["receipt-waiting", sentAnd({}, (page, { receipt }) => page.goto(receipt).then(() => page.locator("#timeline").waitFor()))],
    ["receipt-revoke", sentAnd({}, (page, { receipt }) => page.goto(receipt).then(() => page.locator("#revoke-first").click()).then(() => page.locator("#revoke-yes").waitFor()))],
    ["receipt-arrived", sentAnd({ files: [three[0]] }, (page, links) => taken(page, links).then(() => page.goto(links.receipt)).then(() => page.locator("#timeline").waitFor()))],
    ["receipt-revoked", sentAnd({}, revoked)],
    ["receipt-unknown", (page) => page.goto(`${server}/r/00000000000040008000000000000000#AAAAAAAAAAAAAAAAAAAAAA`).then(() => page.locator("#unknown").waitFor())],
    ["status", (page) => page.goto(`${server}/status`)],
  ];
}

/** @param {Page} page @param {string} details @param {string} content */
async function unfold(page, details, content) {
  const element = page.locator(details);
  if ((await element.getAttribute("open")) === null) await element.locator("summary").click();
  await page.locator(content).waitFor();
}

/** Claims as another recipient does. @param {string} server @param {string} link */
async function claimByApi(server, link) {
  const [, id, secret] = /** @type {RegExpExecArray} */ (/\/s\/(\w+)#([\w-]+)$/.exec(link));
  const { proof } = await deriveKeys(decode(secret));
  const answer = await fetch(`${server}/api/v1/shares/${id}/claims`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ proof: encode(proof), claim: encode(randomToken()) }),
  });
  assert.equal(answer.status, 201);
}

/** Claims as curl does; gives the address of the bytes. */
async function claim(share) {
  const answer = await fetch(share.plain_link, { method: "POST", redirect: "manual" });
  assert.equal(answer.status, 303);
  return new URL(answer.headers.get("location"), share.plain_link).href;
}
