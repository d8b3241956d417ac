import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import jsqr from "jsqr";
import { chromium } from "playwright-core";

import { give, look, MEBIBYTE, prepare, result, send, stamped, take } from "./flows.js";
import { CHROMIUM, onBothStores, onStore } from "./harness.js";

/** @typedef {import("playwright-core").Page} Page */

const BROKEN = /Failed to load resource/;

/** @param {string} name @param {string | Buffer} content */
const file = (name, content) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) });
/** The list of what is chosen, as it is read. @param {Page} page @returns {Promise<string[]>} */
const listed = (page) => page.getByRole("list", { name: "Chosen so far" }).getByRole("listitem").allInnerTexts();
/** How many are chosen, and how much. @param {Page} page */
const sum = (page) => page.locator('#chosen [data-part="sum"]').innerText();
/** What is read out. @param {Page} page */
const said = (page) => page.locator("#status").innerText();
/** Whether it has the focus. @param {import("playwright-core").Locator} element */
const focused = (element) => element.evaluate((element) => element === document.activeElement);

/** Drags what lies on disk over the middle of the page, and drops it there. @param {Page} page @param {string[]} files */
async function drop(page, files, whileOver = async () => {}) {
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of /** @type {const} */ (["dragEnter", "dragOver"])) {
    await session.send("Input.dispatchDragEvent", { type, x: 300, y: 100, data });
  }
  await whileOver();
  await session.send("Input.dispatchDragEvent", { type: "drop", x: 300, y: 100, data });
}

/** Pastes outside of all fields. @param {Page} page @param {{ text?: string, picture?: boolean }} clipboard */
async function paste(page, { text = "", picture = false }) {
  await page.evaluate(
    ([text, picture]) => {
      const clipboardData = new DataTransfer();
      if (text) clipboardData.setData("text/plain", String(text));
      if (picture) clipboardData.items.add(new File(["a picture"], "image.png", { type: "image/png" }));
      document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    },
    [text, picture],
  );
}

/** The tab is looked at again. @param {Page} page */
const lookAgain = (page) => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));

/** Puts a record where the page remembers things. @param {Page} page @param {string} store @param {object} record */
async function remember(page, store, record) {
  await page.evaluate(
    ([store, record]) =>
      new Promise((resolve, reject) => {
        const opening = indexedDB.open("onetimeshare");
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
          const transaction = opening.result.transaction(String(store), "readwrite");
          transaction.objectStore(String(store)).put(record);
          transaction.oncomplete = () => resolve(opening.result.close());
        };
      }),
    /** @type {const} */ ([store, record]),
  );
}

/** Everything that the page remembers, as text. @param {Page} page @returns {Promise<string>} */
const remembered = (page) =>
  page.evaluate(async () => {
    const opening = indexedDB.open("onetimeshare");
    await new Promise((resolve) => (opening.onsuccess = resolve));
    const stores = [...opening.result.objectStoreNames];
    const all = stores.map((store) => {
      const request = opening.result.transaction(store).objectStore(store).getAll();
      return new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    });
    return JSON.stringify([{ ...localStorage }, { ...sessionStorage }, await Promise.all(all)]);
  });

onStore("embedded", "the page that sends", (test) => {
  test("lists what was chosen before its script ran", async ({ server, openModern }) => {
    const page = await openModern();
    let go = () => {};
    const held = new Promise((resolve) => (go = () => resolve(undefined)));
    await page.route("**/send.js", async (route) => {
      await held;
      await route.continue();
    });
    await page.goto(`${server}/`, { waitUntil: "commit" });
    await page.locator("#file").setInputFiles([file("early.txt", "early")]);
    go();
    await page.getByRole("list", { name: "Chosen so far" }).waitFor();
    assert.match((await listed(page)).join(), /early\.txt/);
    await page.getByRole("button", { name: "Send" }).click();
    await result(page);
  });

  test("takes files, and folders with theirs, dropped anywhere", async ({ openModern, server, folder }) => {
    await mkdir(join(folder, "Reise/Süden"), { recursive: true });
    await mkdir(join(folder, "Reise/leer"));
    const lies = { "Brief.txt": "Brief", "Reise/Plan 10.txt": "zehn", "Reise/Plan 9.txt": "neun", "Reise/Süden/🌊.txt": "Meer" };
    for (const [name, content] of Object.entries(lies)) await writeFile(join(folder, name), content);
    const page = await openModern();
    await prepare(page, server, {});
    await drop(page, [join(folder, "Brief.txt"), join(folder, "Reise")], async () => {
      await page.locator(".dropping").filter({ hasText: "Drop to add" }).waitFor();
    });
    await page.locator("#chosen").waitFor();
    assert.equal(await page.locator(".dropping").count(), 0);
    assert.equal(await sum(page), "4 files, 17 bytes");
    const names = (await listed(page)).map((line) => line.split("\n")[0]);
    assert.deepEqual(names, ["Brief.txt", "Reise/Plan 9.txt", "Reise/Plan 10.txt", "Reise/Süden/🌊.txt"]);
    await page.getByText("The folder Reise/leer is empty and left out.").waitFor();

    await send(page);
    const { link } = await result(page);
    const recipient = await openModern();
    await look(recipient, link);
    const shown = await recipient.locator(".files .name").allInnerTexts();
    assert.deepEqual(shown, names);
  });

  test("takes a folder that is chosen, and adds what is chosen next", async ({ openModern, server, folder }) => {
    await mkdir(join(folder, "Fotos/1"), { recursive: true });
    for (const name of ["a.jpg", "1/b.jpg"]) await writeFile(join(folder, "Fotos", name), name);
    const page = await openModern();
    await prepare(page, server, { folder: join(folder, "Fotos"), files: [join(folder, "Fotos/a.jpg")] });
    await page.getByLabel(/^Files/).setInputFiles([join(folder, "Fotos/a.jpg")]);
    const names = (await listed(page)).map((line) => line.split("\n")[0]);
    assert.deepEqual(names.sort(), ["Fotos/1/b.jpg", "Fotos/a.jpg", "a (2).jpg", "a.jpg"].sort());
  });

  test("takes a picture and a text that are pasted", async ({ openModern, server }) => {
    const page = await openModern();
    await prepare(page, server, {});
    await paste(page, { text: "first " });
    assert.ok(await focused(page.getByLabel("Text", { exact: true })));
    await paste(page, { text: "second" });
    assert.equal(await page.getByLabel("Text", { exact: true }).inputValue(), "first second");
    await paste(page, { picture: true });
    assert.deepEqual(await listed(page), ["image.png\n9 bytes"]);
    // Where one writes, one's own paste is left alone.
    await page.getByLabel("Note to the recipient").focus();
    await page.evaluate(() => navigator.clipboard.writeText("noted")).catch(() => {});
    await page.getByLabel("Note to the recipient").fill("x");
    assert.equal((await listed(page)).length, 1);

    await send(page);
    const { link } = await result(page);
    const recipient = await openModern();
    await look(recipient, link);
    assert.deepEqual(await recipient.locator(".files .name").allInnerTexts(), ["image.png", "text.txt"]);
  });

  test("removes one, and all", async ({ openModern, server }) => {
    const page = await openModern();
    await prepare(page, server, { files: ["a", "b", "c"].map((name) => file(name, name)) });
    await page.getByRole("button", { name: "Remove b" }).click();
    assert.deepEqual(await listed(page), ["a\n1 byte", "c\n1 byte"]);
    assert.ok(await focused(page.getByRole("button", { name: "Remove c" })));
    assert.equal(await said(page), "b removed. 2 files, 2 bytes.");
    await page.keyboard.press("Enter");
    assert.ok(await focused(page.getByRole("button", { name: "Remove a" })));
    await page.keyboard.press("Enter");
    assert.ok(await focused(page.getByLabel(/^Files/)));
    assert.equal(await page.locator("#chosen").isVisible(), false);

    await page.getByLabel(/^Files/).setInputFiles([...Array(20).keys()].map((at) => file(`${at}.txt`, "x")));
    assert.equal((await listed(page)).length, 12);
    await page.getByRole("button", { name: "Show 8 more" }).click();
    assert.equal((await listed(page)).length, 20);
    assert.ok(await focused(page.getByRole("button", { name: "Remove 12.txt" })));
    await page.getByRole("button", { name: "Remove all" }).click();
    assert.equal(await page.locator("#chosen").isVisible(), false);
  });

  test("says what is too much, or nothing, before anything is sent", async ({ openModern, ownServer, proxy }) => {
    const small = await ownServer(["--max-size", "1MiB"]);
    const between = await proxy({ before: small.address });
    const page = await openModern();
    await prepare(page, between.address, {});
    await send(page);
    const problem = page.getByRole("alert").filter({ hasText: "Choose a file or write a text first." });
    await problem.waitFor();
    assert.ok(await focused(page.getByLabel(/^Files/)));

    await page.getByLabel(/^Files/).setInputFiles([file("most.bin", Buffer.alloc(MEBIBYTE)), file("over.bin", Buffer.alloc(2048))]);
    await page.getByRole("alert").filter({ hasText: "That is 2 KiB too much: at most 1 MiB altogether." }).waitFor();
    await send(page);
    assert.ok(await focused(page.getByLabel(/^Files/)));
    assert.equal(between.requests.filter(({ method }) => method !== "GET").length, 0);

    await page.getByRole("button", { name: "Remove over.bin" }).click();
    assert.equal(await page.locator("#problem").innerText(), "");
    await send(page);
    await result(page);
  });

  test("remembers what was chosen, and neither password nor note", async ({ openModern, server }) => {
    const page = await openModern();
    await prepare(page, server, { files: file("a", "a"), note: "my-very-own-note", password: "my-very-own-password", downloads: 3 });
    await page.getByLabel("Kept for").selectOption("1 hour");
    await page.getByText("The first 3 to press Download get it, once each. It is kept for 1 hour at most.").waitFor();
    await send(page);
    await result(page);
    const kept = await remembered(page);
    assert.ok(kept.includes('"downloads":3'), kept);
    for (const secret of ["my-very-own-note", "my-very-own-password"]) assert.ok(!kept.includes(secret), kept);
    await page.getByRole("button", { name: "Send another" }).click();
    for (const reload of [false, true]) {
      if (reload) await page.reload();
      await page.getByText("The first 3 to press Download get it, once each. It is kept for 1 hour at most.").waitFor();
      assert.equal(await page.getByLabel("Downloads").inputValue(), "3");
      assert.equal(await page.getByLabel("Password").inputValue(), "");
      assert.equal(await page.getByLabel("Note to the recipient").inputValue(), "");
      assert.equal(await page.locator("#chosen").isVisible(), false);
    }
  });

  test("makes passwords, shows and hides them, and has them ready with the link", async ({ openModern, server }) => {
    const page = await openModern({ permissions: ["clipboard-read", "clipboard-write"] });
    await prepare(page, server, { files: file("a.txt", "behind a password") });
    const field = page.getByLabel("Password");
    const made = new Set();
    for (let time = 0; time < 20; time += 1) {
      await page.getByRole("button", { name: "Generate" }).click();
      made.add(await field.inputValue());
    }
    assert.equal(made.size, 20);
    for (const password of made) assert.match(password, /^([bdfghjklmnprstvz][aiou]){2}[bdfghjklmnprstvz](-([bdfghjklmnprstvz][aiou]){2}[bdfghjklmnprstvz]){3}$/);
    assert.equal(await field.getAttribute("type"), "text");
    await page.getByRole("button", { name: "Hide" }).click();
    assert.equal(await field.getAttribute("type"), "password");
    await page.getByRole("button", { name: "Show" }).click();
    assert.equal(await field.getAttribute("type"), "text");
    const password = await field.inputValue();

    await send(page);
    const { link } = await result(page);
    assert.equal(await page.locator(".result").getByLabel("Password").inputValue(), password);
    assert.ok(!link.includes(password));
    const { path } = await take(await openModern(), link, { password });
    assert.ok(path);
  });

  test("tells how far it is, to eyes and ears, and gives the form back when it is cancelled", async (scene) => {
    const { openModern, proxy, watch } = scene;
    watch.allow(BROKEN);
    const between = await proxy();
    const page = await openModern();
    await prepare(page, between.address, { files: file("Film.mp4", Buffer.alloc(24 * MEBIBYTE)), note: "mine", password: "p" });
    between.throttle(3 * MEBIBYTE, ["up"]);
    const heard = await page.evaluateHandle(() => {
      const heard = [];
      const status = document.getElementById("status");
      new MutationObserver(() => heard.push(status.textContent)).observe(status, { childList: true });
      return heard;
    });
    await send(page);
    assert.ok(await focused(page.getByRole("heading", { name: /Getting ready|Sending/ })));
    await page.locator(".sending").getByText("Film.mp4").waitFor();
    await page.waitForFunction(() => /^[1-9]\d% · Sending$/.test(document.title));
    await page.getByText(/^\d+(\.\d)? MiB of 24 MiB$/).waitFor();
    await page.getByText(/MiB a second, .* left$/).waitFor();
    const bar = page.getByRole("progressbar", { name: "Sending" });
    assert.ok(Number(await bar.evaluate((/** @type {HTMLProgressElement} */ bar) => bar.value)) > 0);
    await page.waitForFunction(() => Number.parseInt(document.title) >= 60);
    const steps = (await heard.jsonValue()).filter((words) => words.includes("% sent"));
    assert.ok(steps.length >= 1 && steps.length <= 2, `read out: ${steps.join(" | ")}`);

    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("heading", { name: "Paused" }).waitFor();
    assert.equal(await said(page), "Paused.");
    await page.getByRole("button", { name: "Cancel" }).click();
    assert.ok(await focused(page.getByRole("button", { name: "Keep sending" })));
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Cancel the upload" }).click();
    await page.getByText("Cancelled. Nothing of it is left on the server.").waitFor();
    assert.deepEqual(await listed(page), ["Film.mp4\n24 MiB"]);
    assert.equal(await page.getByLabel("Note to the recipient").inputValue(), "mine");
    assert.equal(await page.getByLabel("Password").inputValue(), "p");
    assert.equal(await page.title(), "OneTimeShare");

    between.throttle(Infinity);
    await send(page);
    await result(page);
  });

  test("asks on the smallest screen so that one can answer, and not for longer than there is something to ask", async ({ openModern, proxy }) => {
    const between = await proxy();
    const page = await openModern({ viewport: { width: 341, height: 155 } });
    await prepare(page, between.address, { files: file("Film.mp4", Buffer.alloc(24 * MEBIBYTE)) });
    between.throttle(3 * MEBIBYTE, ["up"]);
    await send(page);
    await page.getByRole("button", { name: "Cancel" }).click();
    const keep = page.getByRole("button", { name: "Keep sending" });
    assert.ok(await focused(keep));
    const { y, height } = await keep.boundingBox();
    assert.ok(y >= 0 && y + height <= 155, `the button with the focus is at ${y}`);
    between.throttle(Infinity);
    await result(page);
    assert.equal(await page.getByRole("dialog").count(), 0);
    assert.ok(await focused(page.getByRole("heading", { level: 1 })));
  });

  test("says why it waits, and that it goes on by itself", async ({ openModern, proxy, watch }) => {
    watch.allow(BROKEN);
    const between = await proxy();
    const page = await openModern();
    await prepare(page, between.address, { files: file("Film.mp4", Buffer.alloc(8 * MEBIBYTE)) });
    between.throttle(2 * MEBIBYTE, ["up"]);
    await send(page);
    await page.waitForFunction(() => /^[1-9]\d% · Sending$/.test(document.title));
    await between.refuse();
    await page.getByRole("heading", { name: "Waiting for a connection" }).waitFor();
    await page.locator(".sending").getByText("The server can’t be reached just now. It goes on by itself.").waitFor();
    between.throttle(Infinity);
    await between.accept();
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await result(page);
  });

  test("says another reason when that is what it waits for by now", async ({ openModern, server, watch }) => {
    watch.allow(BROKEN);
    const page = await openModern();
    await prepare(page, server, { files: file("Film.mp4", Buffer.alloc(1000)) });
    let [code, status] = ["store_unavailable", 503];
    await page.route("**/api/v1/uploads", (route) => {
      const headers = { "tus-resumable": "1.0.0", "content-type": "application/problem+json" };
      return route.fulfill({ status, headers, body: JSON.stringify({ code, detail: code }) });
    });
    await send(page);
    const problem = page.locator('.sending [data-part="problem"]');
    await problem.filter({ hasText: "The server’s store is down just now. It goes on by itself." }).waitFor();
    [code, status] = ["upload_rate", 503];
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await problem.filter({ hasText: "Your network began many uploads at once" }).waitFor();
    assert.match(await said(page), /Your network began many uploads at once/);
  });

  test("takes nothing in while it sends, and does not give way to a file that is dropped", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const path = join(folder, "late.html");
    await writeFile(path, "<h1>late</h1>");
    const between = await proxy();
    const page = await openModern();
    await prepare(page, between.address, { files: file("Film.mp4", Buffer.alloc(16 * MEBIBYTE)) });
    between.throttle(2 * MEBIBYTE, ["up"]);
    await send(page);
    await page.waitForFunction(() => /^[1-9]\d% · Sending$/.test(document.title));
    await drop(page, [path]);
    await page.locator(".sending").waitFor();
    between.throttle(Infinity);
    await result(page);
    assert.match(page.url(), /\/$/);
  });

  test("wants the very files to go on after a reload, and discards what is not wanted", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(BROKEN);
    const [large, small, other] = ["large.bin", "small.bin", "other.bin"].map((name) => join(folder, name));
    await writeFile(large, Buffer.alloc(40 * MEBIBYTE));
    for (const path of [small, other]) await writeFile(path, "small");
    const between = await proxy();
    const page = await openModern();
    page.on("dialog", (dialog) => dialog.accept());
    await prepare(page, between.address, { files: [large, small] });
    between.throttle(8 * MEBIBYTE, ["up"]);
    await send(page);
    await between.passed("up", 17 * MEBIBYTE);
    await page.reload();
    const again = page.getByRole("button", { name: "Choose again" });
    await page.getByText("To go on, choose the same 2 files again, or drop them here.").waitFor();
    await page.getByText(/^[12]\d(\.\d)? MiB of 40 MiB$/).waitFor();
    const choose = async (path) => {
      const [chooser] = await Promise.all([page.waitForEvent("filechooser"), again.click()]);
      await chooser.setFiles(path);
    };
    await choose(other);
    await page.getByRole("alert").filter({ hasText: "That is not the same, or it was changed since." }).waitFor();
    await choose(small);
    await page.getByText("Good. 1 file is still missing: choose it, too.").waitFor();
    assert.equal(await page.locator(".unfinished [role=alert]").innerText(), "");

    await page.getByRole("button", { name: "Discard" }).click();
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.getByRole("button", { name: "Discard" }).click();
    await page.getByRole("button", { name: "Discard it" }).click();
    await page.getByRole("heading", { name: "Not finished yet" }).waitFor({ state: "detached" });
    assert.ok(between.requests.some(({ method, target }) => method === "DELETE" && target.startsWith("/api/v1/uploads/")));
    await page.reload();
    await page.locator("#send[data-ready]").waitFor();
    assert.equal(await page.getByRole("heading", { name: "Not finished yet" }).count(), 0);
  });

  test("shows the link as what one gives away: selected, copied, drawn", async ({ openModern, server }) => {
    const page = await openModern({ permissions: ["clipboard-read", "clipboard-write"], colorScheme: "dark" });
    const { link, receipt } = await give(page, server, { files: file("a.txt", "a") });
    assert.match(link, new RegExp(`^${server}/s/[0-9a-f]{32}#[A-Za-z0-9_-]{22}$`));
    assert.match(receipt, new RegExp(`^${server}/r/[0-9a-f]{32}#[A-Za-z0-9_-]{22}$`));
    assert.ok(await focused(page.getByRole("heading", { level: 1 })));
    assert.equal(page.url(), `${server}/`);

    const field = page.getByLabel("Link", { exact: true });
    await field.focus();
    assert.equal(await page.evaluate(() => String(getSelection())), link);
    const copied = () => page.evaluate(() => navigator.clipboard.readText());
    const buttons = page.getByRole("button", { name: "Copy", exact: true });
    await buttons.first().click();
    assert.equal(await copied(), link);
    assert.equal(await said(page), "Copied");
    await buttons.last().click();
    assert.equal(await copied(), receipt);

    const picture = page.getByRole("img", { name: "The link as a QR code" });
    const drawn = `data:image/png;base64,${(await picture.screenshot()).toString("base64")}`;
    const { width, height, pixels } = await page.evaluate(async (drawn) => {
      const image = new Image();
      image.src = drawn;
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height);
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.width, image.height);
      return { width: image.width, height: image.height, pixels: [...data] };
    }, drawn);
    const decode = /** @type {typeof import("jsqr").default} */ (/** @type {unknown} */ (jsqr));
    assert.equal(decode(new Uint8ClampedArray(pixels), width, height)?.data, link);

    await page.getByRole("link", { name: "Open the receipt" }).click();
    await stamped(page, receipt, /waiting/i);
  });

  test("unfolds the code on a phone", async ({ openModern, server }) => {
    const page = await openModern({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    await prepare(page, server, {});
    const zone = await page.locator(".choose").boundingBox();
    assert.ok(zone.y + zone.height < 740, "the files are not on the first screen");
    await page.getByLabel(/^Files/).setInputFiles(file("a.txt", "a"));
    await send(page);
    await result(page);
    const picture = page.getByRole("img", { name: "The link as a QR code" });
    assert.equal(await picture.isVisible(), false);
    await page.getByText("QR code", { exact: true }).click();
    await picture.waitFor();
  });

  test("takes what a share menu handed over, once", async ({ openModern, server }) => {
    const page = await openModern();
    await prepare(page, server, {});
    await page.evaluate(async () => {
      const opening = indexedDB.open("onetimeshare");
      await new Promise((resolve) => (opening.onsuccess = resolve));
      const transaction = opening.result.transaction("shared", "readwrite");
      const files = [new File(["picture"], "IMG_1.jpg", { type: "image/jpeg" })];
      transaction.objectStore("shared").put({ id: "one", files, text: "look at this" });
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      opening.result.close();
    });
    await page.goto(`${server}/?shared=one`);
    await page.getByText("IMG_1.jpg").waitFor();
    assert.deepEqual(await listed(page), ["IMG_1.jpg\n7 bytes"]);
    assert.equal(await page.getByLabel("Text", { exact: true }).inputValue(), "look at this");
    assert.equal(page.url(), `${server}/`);
    await page.goto(`${server}/?shared=one`);
    await page.getByText("What was shared is not here.").waitFor();
    assert.equal(page.url(), `${server}/`);
    assert.equal(await page.locator("#chosen").isVisible(), false);
  });

  test("goes from field to field in the order that one sees", async ({ openModern, server }) => {
    const page = await openModern();
    await prepare(page, server, { files: file("a.txt", "a") });
    await page.locator("#main").focus();
    const way = [];
    while (way.at(-1) !== "submit" && way.length < 20) {
      await page.keyboard.press("Tab");
      way.push(await page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label") || document.activeElement.textContent));
    }
    const order = ["file", "folder", "Remove a.txt", "Add a text", "expires_in", "downloads", "password", "show", "generate", "note", "submit"];
    assert.deepEqual(way, order);
    const tops = await page.evaluate(
      (ids) => ids.map((id) => document.getElementById(id).getBoundingClientRect().top),
      ["file", "expires_in", "password", "note", "submit"],
    );
    assert.deepEqual(tops, [...tops].sort((a, b) => a - b));
    await page.keyboard.press("Enter");
    await result(page);
  });

  test("speaks German to those who do", async ({ openModern, server }) => {
    const page = await openModern({ locale: "de-DE" });
    await page.goto(`${server}/`);
    await page.locator("#send[data-ready]").waitFor();
    await page.getByLabel(/^Dateien/).setInputFiles([file("a.txt", Buffer.alloc(1536)), file("b.txt", "b")]);
    assert.equal(await sum(page), "2 Dateien, 1,5 KiB");
    await page.getByRole("button", { name: "b.txt entfernen" }).click();
    await page.getByLabel("Downloads").fill("2");
    await page.getByText("Die ersten 2, die auf „Herunterladen“ drücken, bekommen es, je einmal. Aufbewahrt wird es höchstens 1 Tag.").waitFor();
    await page.getByRole("button", { name: "Senden", exact: true }).click();
    await page.getByRole("heading", { name: "Bereit zum Abholen." }).waitFor();
    await page.getByRole("heading", { name: "Meine Sendungen" }).waitFor();
    assert.equal(await page.title(), "Bereit zum Abholen · OneTimeShare");
  });

  test("stays the plain form where a browser can’t seal, and says so", async ({ server, watch }) => {
    watch.allow(/Cross-Origin-Opener-Policy header has been ignored/);
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ["--no-sandbox", "--host-resolver-rules=MAP send.test 127.0.0.1"],
    });
    try {
      const context = await browser.newContext({ locale: "en-GB" });
      const address = server.replace("127.0.0.1", "send.test");
      watch.origins.add(address);
      watch.over(context);
      const page = await context.newPage();
      await page.goto(address);
      await page.getByText("This page came without https, so your browser can’t seal").waitFor();
      assert.equal(await page.getByRole("button", { name: "Choose a folder" }).isVisible(), false);
      await page.getByLabel("Password").fill("p");
      await page.getByLabel("Files").setInputFiles(file("plain.txt", "plain"));
      await page.getByRole("button", { name: "Send" }).click();
      await page.getByRole("heading", { name: "Ready to be taken." }).waitFor();
      assert.match(await page.getByLabel("Link", { exact: true }).inputValue(), /\/s\/[0-9a-f]{32}\/[A-Za-z0-9_-]{22}$/);
    } finally {
      await browser.close();
    }
  });
});

onBothStores("my shares", (test) => {
  test("tell what became of each, here only", async ({ openModern, server, watch }) => {
    watch.allow(/status of 404/);
    const page = await openModern({ permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(`${server}/`);
    await page.locator("#send[data-ready]").waitFor();
    assert.equal(await page.getByRole("heading", { name: "My shares" }).count(), 0);
    const { link, receipt } = await give(page, server, { files: [file("one.txt", "1"), file("two.txt", "2")] });
    const row = page.locator(".shares li");
    await row.filter({ hasText: "one.txt and 1 more" }).filter({ hasText: "Waiting" }).waitFor();
    await row.getByRole("button", { name: "Copy the link" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), link);

    // A proxy whose server is away knows nothing of shares.
    await page.route("**/api/v1/receipts/**", (route) => route.fulfill({ status: 404, contentType: "text/plain", body: "none" }));
    const [refused] = await Promise.all([page.waitForResponse("**/api/v1/receipts/**"), lookAgain(page)]);
    assert.equal(refused.status(), 404);
    await page.unroute("**/api/v1/receipts/**");
    const recipient = await openModern();
    await take(recipient, link);
    // The file is there before the server hears of it.
    await stamped(recipient, receipt, /arrived/i);
    await lookAgain(page);
    await row.filter({ hasText: "Arrived" }).waitFor();
    for (const name of ["Copy the link", "Revoke"]) assert.equal(await row.getByRole("button", { name }).isVisible(), false, name);
    await page.reload();
    await row.filter({ hasText: "Arrived" }).waitFor();
    await row.getByRole("button", { name: "Forget" }).click();
    await page.getByRole("heading", { name: "My shares" }).waitFor({ state: "detached" });
    await page.reload();
    await page.locator("#send[data-ready]").waitFor();
    assert.equal(await page.getByRole("heading", { name: "My shares" }).count(), 0);
  });

  test("are revoked and forgotten, once one has said yes", async ({ openModern, server, watch }) => {
    watch.allow(/status of 404|status of 410/);
    const page = await openModern();
    const { link, receipt } = await give(page, server, { files: file("regret.txt", "regret") });
    const row = page.locator(".shares li");
    const state = (word) => row.filter({ hasText: word }).waitFor();
    await state("Waiting");
    await row.getByRole("button", { name: "Forget" }).click();
    await page.getByRole("button", { name: "Keep it" }).click();
    await row.getByRole("button", { name: "Revoke" }).click();
    await page.keyboard.press("Escape");
    await state("Waiting");
    await row.getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("button", { name: "Revoke it" }).click();
    await state("Revoked");
    assert.ok(await focused(row.getByRole("link", { name: "Receipt" })));
    const recipient = await openModern();
    await stamped(recipient, receipt, /revoked/i);
    await recipient.goto(link);
    await recipient.getByRole("heading", { name: "Withdrawn" }).waitFor();
  });

  test("say that it is too late to revoke what was taken meanwhile", async ({ openModern, server, watch }) => {
    watch.allow(/status of (404|409)/);
    const page = await openModern();
    const { link, receipt } = await give(page, server, { files: file("gone.txt", "gone") });
    const row = page.locator(".shares li");
    await row.getByRole("button", { name: "Revoke" }).waitFor();
    const recipient = await openModern();
    await take(recipient, link);
    await stamped(recipient, receipt, /arrived/i);
    await row.getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("button", { name: "Revoke it" }).click();
    await row.getByText("Too late: it has just been taken.").waitFor();
    await row.filter({ hasText: "Arrived" }).waitFor();
  });

  test("show a link that can't be copied", async ({ openModern, server }) => {
    const page = await openModern();
    await page.addInitScript(() => (navigator.clipboard.writeText = () => Promise.reject(new Error("barred"))));
    const { link } = await give(page, server, { files: file("one.txt", "1") });
    const row = page.locator(".shares li");
    await row.getByRole("button", { name: "Copy the link" }).click();
    assert.equal(await row.getByRole("textbox", { name: "one.txt" }).inputValue(), link);
  });

  test("that the server does not know any more are over", async ({ openModern, server, watch }) => {
    watch.allow(/status of 404/);
    const page = await openModern();
    await prepare(page, server, {});
    const record = {
      ...{ secret: "A".repeat(22), owner: "A".repeat(22), names: ["old.txt"], files: 1, text: false, size: 3, password: false },
      ...{ downloads: 1, createdAt: Date.now() - 9 * 86_400_000, expiresAt: Date.now() - 8 * 86_400_000, state: "ready" },
    };
    for (const at of ["1", "2"]) await remember(page, "shares", { ...record, id: `${at.repeat(12)}4000800000000000000${at}` });
    await page.reload();
    const rows = page.locator(".shares li").filter({ hasText: "old.txt" });
    await rows.filter({ hasText: "Over" }).nth(1).waitFor();
    assert.equal(await rows.getByRole("link", { name: "Receipt" }).count(), 0);

    const forget = rows.last().getByRole("button", { name: "Forget" });
    await forget.focus();
    await remember(page, "shares", { ...record, id: "33333333333340008000000000000003", createdAt: Date.now() });
    await lookAgain(page);
    await rows.nth(2).waitFor();
    assert.ok(await focused(forget), "a row that came took the focus away");
    await page.getByRole("button", { name: "Forget what is over" }).click();
    await page.getByRole("heading", { name: "My shares" }).waitFor({ state: "detached" });
  });
});
