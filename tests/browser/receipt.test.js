import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { download, onBothStores, onStore, sent } from "./harness.js";
import { sealed } from "./sealed.js";
import { decode, deriveKeys, encode, randomToken } from "../../static/lib/seal.js";
import { Follower, happenings, isOver } from "../../static/lib/timeline.js";

/** @typedef {import("playwright-core").Page} Page */

const REFUSALS = /the server responded with a status of 4(03|04|09|10)/;
const ABORTED = /net::ERR_FAILED/;

const addressOf = (server, share) => `${server}/r/${share.id}#${share.owner_token}`;

/** @param {Page} page @param {string} name */
const button = (page, name) => page.getByRole("button", { name, exact: true });

/** What happened, line by line. @param {Page} page @returns {Promise<string[]>} */
const lines = (page) => page.locator("#timeline strong").allInnerTexts();

/** Waits until that has happened. @param {Page} page @param {string} line */
const happened = (page, line) => page.locator("#timeline").getByText(line, { exact: true }).waitFor();

/** @param {Page} page @param {string} word */
const stamped = (page, word) => page.locator("#state").filter({ hasText: new RegExp(`^${word}$`) }).waitFor();

/** Claims as another program does; gives where the content is. */
async function claimed(server, { id, secret }) {
  const { proof } = await deriveKeys(decode(secret));
  const claim = encode(randomToken());
  const answer = await fetch(`${server}/api/v1/shares/${id}/claims`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ proof: encode(proof), claim }),
  });
  assert.equal(answer.status, 201);
  return `${server}/api/v1/shares/${id}/claims/${claim}`;
}

/** Opens the receipt. */
async function opened(page, server, share) {
  await page.goto(addressOf(server, share));
  await page.locator("#known").waitFor();
}

onBothStores("a receipt", (test) => {
  test("tells as it happens that the share was opened, taken, and arrived", async ({ server, openModern }) => {
    const share = await sent(server, [["a.bin", Buffer.alloc(300_000)]]);
    const page = await openModern();
    await opened(page, server, share);
    await stamped(page, "Waiting");
    assert.deepEqual(await lines(page), ["Uploaded", "Not opened so far"]);
    assert.equal(await page.title(), "Waiting · Receipt");
    const icon = page.locator('link[rel="icon"]');
    const before = await icon.getAttribute("href");
    const facts = await page.locator(".facts").innerText();
    assert.match(facts, /Size\s+293 KiB\s+Kept until\s.*left\s+Downloads\s+0 of 1 taken/);

    const recipient = await openModern();
    await recipient.goto(share.link);
    await happened(page, "Opened once");
    await download(recipient);
    await stamped(page, "Arrived");
    assert.deepEqual(await lines(page), ["Uploaded", "Opened once", "Taken", "Arrived"]);
    assert.equal(await page.title(), "✓ Arrived · Receipt");
    const after = await icon.evaluate((link) => /** @type {HTMLLinkElement} */ (link).href);
    assert.ok(after !== before && (await page.request.get(after)).ok(), after);
    const bar = page.getByRole("progressbar");
    assert.equal(await bar.getAttribute("value"), await bar.getAttribute("max"));
    assert.equal(await button(page, "Revoke").count(), 0);
    assert.match(await page.locator("#status").textContent(), /Arrived/);
  });

  test("revokes, once that is confirmed", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["regret.txt", "regret"]]);
    const page = await openModern();
    await opened(page, server, share);
    await button(page, "Revoke").click();
    assert.ok(await button(page, "Yes, revoke").evaluate((button) => button === document.activeElement));
    await button(page, "No, keep it").click();
    assert.ok(await button(page, "Revoke").evaluate((button) => button === document.activeElement));
    assert.equal((await fetch(`${server}/api/v1/shares/${share.id}`)).status, 200);

    await button(page, "Revoke").click();
    await button(page, "Yes, revoke").click();
    await stamped(page, "Revoked");
    assert.deepEqual(await lines(page), ["Uploaded", "Revoked"]);
    assert.equal(page.url(), addressOf(server, share));
    await page.goto(share.link);
    await page.getByRole("heading", { name: "Withdrawn" }).waitFor();
  });
});

onStore("embedded", "a receipt", (test) => {
  test("warns of wrong passwords", async ({ server, openModern }) => {
    const share = await sent(server, [["a.txt", "a"]], { password: "p" });
    const page = await openModern();
    await opened(page, server, share);
    for (const times of ["once", "twice", "3 times"]) {
      const body = new URLSearchParams({ password: times });
      await fetch(share.plain_link, { method: "POST", body, redirect: "manual" });
      await happened(page, `Wrong password ${times}`);
    }
    await page.getByText("Was it not your recipient? Then the link is in other hands.").waitFor();
  });

  test("says that what is left was revoked, where some of it was taken", async ({ server, openModern }) => {
    const share = await sent(server, [["some.txt", "some"]], { downloads: "3" });
    const page = await openModern();
    await opened(page, server, share);
    await fetch(share.plain_link, { method: "POST", redirect: "manual" });
    await happened(page, "Taken");
    await button(page, "Revoke").click();
    await button(page, "Yes, revoke").click();
    await happened(page, "Revoked");
    await stamped(page, "On its way");
    assert.deepEqual(await lines(page), ["Uploaded", "Taken", "Revoked"]);
  });

  test("that can't be asked for says so, and comes by itself", async ({ server, openModern, watch }) => {
    watch.allow(ABORTED);
    const share = await sent(server, [["a.txt", "a"]]);
    const page = await openModern();
    await page.route("**/api/v1/receipts/**", (route) => route.abort());
    await page.goto(addressOf(server, share));
    await page.getByText("The server can’t be reached just now. As soon as it can, this page goes on by itself.").waitFor();
    await page.unroute("**/api/v1/receipts/**");
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await stamped(page, "Waiting");
    assert.equal(await page.locator("#unreachable").isVisible(), false);
  });

  test("that comes too late to revoke says so", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["late.txt", "late"]]);
    const page = await openModern();
    await opened(page, server, share);
    await button(page, "Revoke").click();
    // It is taken in the moment before: news of it would take the button away.
    await page.route(`**/api/v1/shares/${share.id}`, async (route) => {
      await fetch(share.plain_link, { method: "POST", redirect: "manual" });
      await route.continue();
    });
    await button(page, "Yes, revoke").click();
    await page.getByText("Too late: it has just been taken.").waitFor();
    await stamped(page, "On its way");
  });

  test("tells that a download broke off, and that it went on", async ({ server, openModern }) => {
    const share = await sealed(server, [{ name: "a.bin", content: Buffer.alloc(40 * 2 ** 20) }]);
    const page = await openModern();
    await page.goto(`${server}/r/${share.id}#${share.owner}`);
    await stamped(page, "Waiting");
    const content = await claimed(server, share);
    // More than buffers on the way take, so that the server knows what was not read.
    const broken = await fetch(content);
    const reader = broken.body.getReader();
    for (let read = 0; read < 2 ** 20; ) read += (await reader.read()).value.length;
    await happened(page, "Taken");
    await reader.cancel();
    await happened(page, "Interrupted");
    assert.match(await page.locator("#timeline").innerText(), /Still running\./);

    await (await fetch(content)).arrayBuffer();
    await happened(page, "Resumed");
    await page.getByText("Parts of it were sent again.").waitFor();
    assert.equal((await fetch(content, { method: "DELETE" })).status, 204);
    await stamped(page, "Arrived");
    assert.deepEqual(await lines(page), ["Uploaded", "Taken", "Interrupted", "Resumed", "Arrived"]);
  });

  test("goes on where the stream breaks, and asks by itself where there can be none", async (scene) => {
    const { server, openModern, proxy, watch } = scene;
    watch.allow(ABORTED, /Failed to load resource/);
    const share = await sent(server, [["a.txt", "a"]], { downloads: "2" });
    const between = await proxy();
    const page = await openModern();
    await opened(page, between.address, share);
    await between.refuse();
    await page.getByText("The server can’t be reached just now. What you see may be out of date").waitFor();
    await fetch(share.link);
    await between.accept();
    await happened(page, "Opened once");
    await page.locator("#offline").waitFor({ state: "hidden" });

    const blind = await openModern();
    let streams = 0;
    await blind.route("**/events", (route) => {
      streams += 1;
      return route.abort();
    });
    await opened(blind, server, share);
    await fetch(share.link);
    await happened(blind, "Opened twice");
    assert.ok(streams > 0);
  });

  test("tells one without its token nothing", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["a.txt", "a"]]);
    const page = await openModern();
    for (const fragment of ["", "#no", `#${"A".repeat(22)}`]) {
      await page.goto("about:blank");
      await page.goto(`${server}/r/${share.id}${fragment}`);
      await page.getByText("There is no receipt at this address, or not any more.").waitFor();
      assert.equal(await page.locator("#known").isVisible(), false);
    }
    await page.goto(addressOf(server, share));
    await stamped(page, "Waiting");
  });

  test("speaks German", async ({ server, openModern }) => {
    const share = await sent(server, [["a.txt", "a"]], { downloads: "2" });
    const page = await openModern({ locale: "de-DE" });
    await opened(page, server, share);
    await stamped(page, "Wartet");
    await fetch(share.plain_link, { method: "POST", redirect: "manual" });
    await stamped(page, "Wartet auf weitere");
    assert.deepEqual(await lines(page), ["Hochgeladen", "Abgeholt"]);
    await button(page, "Zurückziehen").click();
    await page.getByText("Wirklich zurückziehen?").waitFor();
    assert.equal(await page.title(), "Wartet auf weitere · Quittung");
  });
});

describe("the timeline", () => {
  const AT = "2026-11-21T12:00:00.000Z";
  const claim = (served, state = "claimed") => {
    return { state, claimed_at: AT, finished_at: state === "finished" ? AT : null, served };
  };
  /** @returns {any} */
  const receipt = (claims, more = {}) => ({
    state: "claimed",
    created_at: AT,
    expires_at: AT,
    opened: 1,
    wrong_proofs: 0,
    downloads: 1,
    claims,
    ...more,
  });
  /** What is told after each of these numbers of served bytes was seen, at these seconds. */
  const told = (seen, { size = 100, last = "claimed" } = {}) => {
    const follower = new Follower();
    let now;
    seen.forEach(([seconds, served], index) => {
      now = receipt([claim(served, index === seen.length - 1 ? last : "claimed")]);
      follower.note(now, seconds * 1000, size);
    });
    return happenings(now, follower).slice(2).map(({ what, times }) => (times > 1 ? `${what} ${times}` : what));
  };

  it("tells that a download broke off when the server takes back what was not sent", () => {
    assert.deepEqual(told([[0, 50], [1, 40]]), ["claimed", "interrupted"]);
    assert.deepEqual(told([[0, 50], [1, 40], [5, 60]]), ["claimed", "interrupted", "resumed"]);
    assert.deepEqual(told([[0, 50], [1, 40], [5, 60], [6, 55], [9, 100]]), ["claimed", "interrupted 2", "resumed"]);
    const whole = told([[0, 50], [1, 40], [5, 100]], { last: "finished" });
    assert.deepEqual(whole, ["claimed", "interrupted", "resumed", "arrived"]);
  });

  it("tells it, too, where nothing moves for long, but not of one that is slow or has everything", () => {
    assert.deepEqual(told([[0, 50], [60, 50]]), ["claimed"]);
    assert.deepEqual(told([[0, 50], [121, 50]]), ["claimed", "interrupted"]);
    assert.deepEqual(told([[0, 0], [100, 16], [300, 32], [500, 32]]), ["claimed"]);
    assert.deepEqual(told([[0, 100], [500, 100]]), ["claimed"]);
    assert.deepEqual(told([[0, 50], [500, 50]], { last: "lapsed" }), ["claimed", "unconfirmed"]);
  });

  it("ends when nothing more can happen", () => {
    assert.equal(isOver(receipt([claim(1)])), false);
    assert.equal(isOver(receipt([claim(1, "finished")], { state: "finished" })), true);
    assert.equal(isOver(receipt([claim(1), claim(1, "finished")], { state: "revoked" })), false);
    assert.equal(isOver(receipt([], { state: "expired" })), true);
  });

  it("tells an end that nobody saw from one that somebody saw", () => {
    const end = (more) => happenings(receipt([], more), new Follower()).at(-1);
    assert.deepEqual(end({ state: "expired", opened: 0 }), { what: "unseen", at: AT });
    assert.deepEqual(end({ state: "expired", opened: 2 }), { what: "expired", at: AT });
    assert.equal(end({ state: "abandoned", expires_at: null, opened: 0 }).what, "abandoned");
  });
});
