import assert from "node:assert/strict";
import { join } from "node:path";

import { arrive, assertSame, BROKEN, give, look, MEBIBYTE, prepare, randomFile, rangeOf, reads, result, send, sentTwice, take } from "./flows.js";
import { onBothStores, onStore } from "./harness.js";

const SIZE = 40 * MEBIBYTE;
/** Bytes of one PATCH, as the server suggests. */
const PART = 16 * MEBIBYTE;
/** Plain bytes between two notes of a download: so much may be fetched again after a reload. */
const NOTED = 16 * MEBIBYTE;
/** Long enough for a machine that does other things, too. Milliseconds. */
const SLOW = 90_000;
/** Heads, pages and modules. */
const REST = MEBIBYTE;
/** Slow enough to be caught in the middle. */
const RATE = 60 * MEBIBYTE;

onBothStores("an upload", (test) => {
  test("goes on after its connection was cut, and after the server was killed", async (scene) => {
    const { openModern, ownServer, proxy, folder, watch } = scene;
    watch.allow(BROKEN);
    const server = await ownServer();
    const between = await proxy({ before: server.address });
    between.throttle(RATE, ["up"]);
    const path = await randomFile(join(folder, "large.bin"), SIZE);
    const page = await openModern();
    await prepare(page, between.address, { files: path });
    const cut = between.cutAfter(PART + PART / 2, "up");
    await send(page);
    await cut;
    await between.passed("up", 2.2 * PART);
    await server.restart("SIGKILL");
    const { link } = await result(page, SLOW);
    const patches = between.requests.filter(({ method }) => method === "PATCH");
    assert.ok(patches.filter(({ sent, length }) => sent < length).length >= 1, "nothing was interrupted");
    assert.ok(sentTwice(between.requests) <= 2 * PART, `${sentTwice(between.requests)} bytes were sent twice`);
    await assertSame((await take(await openModern(), link)).path, path);
  });

  test("sends no more than one PATCH again for a cut", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    const path = await randomFile(join(folder, "large.bin"), SIZE);
    const page = await openModern();
    await prepare(page, between.address, { files: path });
    const cut = between.cutAfter(1.9 * PART, "up");
    await send(page);
    await cut;
    const { link } = await result(page, SLOW);
    assert.ok(sentTwice(between.requests) <= PART, `${sentTwice(between.requests)} bytes were sent twice`);
    await assertSame((await take(await openModern(), link)).path, path);
  });

  test("goes on where it was after a reload", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    between.throttle(RATE, ["up"]);
    const path = await randomFile(join(folder, "large.bin"), SIZE);
    const page = await openModern();
    await prepare(page, between.address, { files: path, note: "after the reload" });
    await send(page);
    await between.passed("up", 1.5 * PART);
    const asked = new Promise((resolve) => page.once("dialog", (dialog) => dialog.accept().then(() => resolve(dialog.type()))));
    await page.reload();
    assert.equal(await asked, "beforeunload", "the tab did not warn");
    await page.getByRole("heading", { name: "Not finished yet" }).waitFor();
    await page.getByText("large.bin").waitFor();
    const button = page.getByRole("button", { name: /^(Go on|Choose again)$/ });
    if ((await button.innerText()) === "Choose again") {
      const [chooser] = await Promise.all([page.waitForEvent("filechooser"), button.click()]);
      await chooser.setFiles(path);
    } else await button.click();
    const { link } = await result(page, SLOW);
    assert.ok(sentTwice(between.requests) <= PART, `${sentTwice(between.requests)} bytes were sent twice`);
    const recipient = await openModern();
    const download = await look(recipient, link);
    assert.equal(await recipient.locator("blockquote").innerText(), "after the reload");
    await assertSame((await arrive(recipient, () => download.click())).path, path);
    await page.reload();
    assert.equal(await page.getByRole("heading", { name: "Not finished yet" }).count(), 0);
  });

  test("is paused, resumed and cancelled", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    between.throttle(RATE / 4, ["up"]);
    const path = await randomFile(join(folder, "large.bin"), 2 * PART);
    const page = await openModern();
    await prepare(page, between.address, { files: path });
    await send(page);
    await between.passed("up", PART / 2);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("heading", { name: "Paused" }).waitFor();
    const head = between.next(({ method }) => method === "PATCH");
    await page.getByRole("button", { name: "Resume" }).click();
    await head;
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Cancel the upload" }).click();
    await page.getByText("Cancelled. Nothing of it is left on the server.").waitFor();
    assert.ok(between.requests.some(({ method, target }) => method === "DELETE" && target.startsWith("/api/v1/uploads/")));
    await page.getByRole("button", { name: "Send", exact: true }).waitFor();
  });
});

onBothStores("a download", (test) => {
  test("goes on after its connection was cut, and after the server was killed", async (scene) => {
    const { openModern, ownServer, proxy, folder, watch } = scene;
    watch.allow(BROKEN);
    const server = await ownServer();
    const between = await proxy({ before: server.address });
    const path = await randomFile(join(folder, "large.bin"), SIZE);
    const { link } = await give(await openModern(), between.address, { files: path }, SLOW);
    const page = await openModern();
    const button = await look(page, link);
    const before = between.bytes.down;
    between.throttle(RATE, ["down"]);
    const got = await arrive(page, async () => {
      const cut = between.cutAfter(PART, "down");
      await button.click();
      await cut;
      await between.passed("down", before + 1.8 * PART);
      await server.restart("SIGKILL");
    }, SLOW);
    await assertSame(got.path, path);
    const ranges = reads(between.requests).map(rangeOf);
    assert.ok(ranges.length >= 3, `only ${ranges}`);
    assert.deepEqual(ranges, [...ranges].sort((one, other) => one - other), "fetched again from the beginning");
    // Little is lost of what passed: what lay in the buffers of a connection when it broke.
    assert.ok(between.bytes.down - before <= SIZE + 2 * 8 * MEBIBYTE + REST, `${between.bytes.down - before} bytes`);
  });

  test("goes on by itself after a reload, where it was", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    const page = await openModern();
    const { path } = await halfway(page, { between, sender: await openModern(), folder });
    const seen = reads(between.requests).length;
    const got = await arrive(page, () => page.reload(), SLOW);
    await assertSame(got.path, path);
    const others = reads(between.requests).map(rangeOf).slice(seen);
    assert.ok(others.length >= 1 && others.every((from) => from >= NOTED), `fetched again from ${others}`);
    assert.equal(between.requests.filter(({ method, target }) => method === "POST" && target.endsWith("/claims")).length, 1);
    assert.ok(!page.url().includes("#"), "the secret stayed in the address");
  });

  test("is paused and goes on", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    const path = await randomFile(join(folder, "large.bin"), SIZE / 2);
    const { link } = await give(await openModern(), between.address, { files: path }, SLOW);
    const page = await openModern();
    const button = await look(page, link);
    between.throttle(RATE / 4, ["down"]);
    const before = between.bytes.down;
    await button.click();
    await between.passed("down", before + PART / 2);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("heading", { name: "Paused" }).waitFor();
    between.throttle(Infinity);
    const got = await arrive(page, () => page.getByRole("button", { name: "Go on" }).click());
    await assertSame(got.path, path);
  });
});

/**
 * Shares a large file, and has `page` download it, slowly, until it has noted how far it is.
 *
 * @param {import("playwright-core").Page} page
 * @param {{ between: import("./proxy.js").Proxy, sender: import("playwright-core").Page, folder: string }} given
 */
async function halfway(page, { between, sender, folder }) {
  const path = await randomFile(join(folder, "large.bin"), SIZE);
  const { link } = await give(sender, between.address, { files: path }, SLOW);
  const button = await look(page, link);
  between.throttle(RATE, ["down"]);
  await button.click();
  await noted(page);
  return { path, link };
}

/** Waits until a download has noted how far it is. @param {import("playwright-core").Page} page */
async function noted(page) {
  // Not by waitForFunction: to it a promise is true.
  await page.evaluate(async () => {
    for (let seen = false; !seen; ) {
      const opening = indexedDB.open("onetimeshare");
      await new Promise((resolve) => (opening.onsuccess = resolve));
      const asking = opening.result.transaction("claims").objectStore("claims").getAll();
      await new Promise((resolve) => (asking.onsuccess = resolve));
      opening.result.close();
      seen = asking.result.some(({ progress }) => progress);
    }
  });
}

onStore("embedded", "a transfer whose browser is closed", (test) => {
  test("goes on when the browser is back: a download by itself", async ({ openProfile, openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    const page = await openProfile();
    const { path, link } = await halfway(page, { between, sender: await openModern(), folder });
    const seen = reads(between.requests).length;
    await page.context().close();
    const again = await openProfile();
    const got = await arrive(again, () => again.goto(link), SLOW);
    await assertSame(got.path, path);
    const others = reads(between.requests).map(rangeOf).slice(seen);
    assert.ok(others.length >= 1 && others.every((from) => from >= NOTED), `fetched again from ${others}`);
  });

  test("an upload when it is told to", async ({ openProfile, openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    between.throttle(RATE, ["up"]);
    const path = await randomFile(join(folder, "large.bin"), SIZE);
    const page = await openProfile();
    await prepare(page, between.address, { files: path });
    await send(page);
    await between.passed("up", 1.5 * PART);
    await page.context().close();
    const again = await openProfile();
    await again.goto(`${between.address}/`);
    const button = again.getByRole("button", { name: /^(Go on|Choose again)$/ });
    await button.waitFor();
    if ((await button.innerText()) === "Choose again") {
      const [chooser] = await Promise.all([again.waitForEvent("filechooser"), button.click()]);
      await chooser.setFiles(path);
    } else await button.click();
    const { link } = await result(again, SLOW);
    assert.ok(sentTwice(between.requests) <= PART, `${sentTwice(between.requests)} bytes were sent twice`);
    await assertSame((await take(await openModern(), link)).path, path);
  });
});

onStore("embedded", "a connection that neither breaks nor moves", (test) => {
  test("is given up for another one", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    const path = await randomFile(join(folder, "large.bin"), 2 * PART);
    const page = await openModern();
    await prepare(page, between.address, { files: path });
    between.throttle(RATE, ["up"]);
    await send(page);
    await between.passed("up", PART);
    between.stall();
    // After a change of networks, old connections are suspects: it takes 10 seconds, not 30.
    // What lay in buffers moves on at first, and looks alive: so the page hears of it more than once.
    await page.evaluate(() => void setInterval(() => dispatchEvent(new Event("online")), 1000));
    await page.getByRole("heading", { name: "Waiting for a connection" }).waitFor({ timeout: 40_000 });
    between.cut();
    between.unstall();
    const { link } = await result(page, SLOW);
    await assertSame((await take(await openModern(), link)).path, path);
  });
});
