import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { download, onBothStores, onStore, sent } from "./harness.js";
import { sealed } from "./sealed.js";
import { decode, deriveKeys, encode, sealedLength, sealManifest } from "../../static/lib/seal.js";

/** @typedef {import("playwright-core").Page} Page */

/** What a browser says of an answer that the page expects. */
const REFUSALS = /the server responded with a status of 4(03|04|10|29)/;
const LOST = /net::ERR_(CONNECTION_|EMPTY_RESPONSE|INTERNET_)|Failed to load resource/;

/** @param {Page} page @param {string} name */
const button = (page, name) => page.getByRole("button", { name, exact: true });

/** @param {Page} page */
const heading = (page) => page.getByRole("heading", { level: 1 }).innerText();

/** The main heading, once the page knows what it has to say. @param {Page} page @param {string} name */
const says = (page, name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor();

/** The sender's view. */
async function receiptOf(server, share) {
  const owner = share.owner_token ?? share.owner;
  const answer = await fetch(`${server}/api/v1/receipts/${share.id}`, {
    headers: { authorization: `Bearer ${owner}` },
  });
  return answer.json();
}

const revoke = (server, share) =>
  fetch(`${server}/api/v1/shares/${share.id}`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${share.owner_token}` },
  });

/** Takes it as somebody else. */
async function taken(share) {
  const answer = await fetch(share.plain_link, { method: "POST", redirect: "manual" });
  assert.equal(answer.status, 303);
}

const text = (words) => [{ name: "text.txt", content: Buffer.from(words), kind: "text" }];
const file = (content, name = "a.bin") => [{ name, content }];

onBothStores("the page behind a link", (test) => {
  test("shows everything and takes nothing, until its button is pressed; then the file is whole", async ({
    server,
    openModern,
  }) => {
    const content = randomBytes(700_000);
    const share = await sent(server, [["Grüße 🎁.pdf", content]], {
      note: "Für dich <b>allein</b>:\nbitte drucken",
      downloads: "2",
    });
    const page = await openModern();
    await page.goto(share.link);
    await button(page, "Download").waitFor();
    const rows = page.getByRole("list", { name: "Files", exact: true }).getByRole("listitem");
    assert.deepEqual(
      await rows.allInnerTexts(),
      ["Grüße 🎁.pdf 683.6 KiB"].map((row) => row.replace(" 683", "\n683")),
    );
    assert.equal(await page.locator("blockquote").innerText(), "Für dich <b>allein</b>:\nbitte drucken");
    const facts = await page.locator(".facts").innerText();
    assert.match(facts, /Kept until\s+\d+ \w+ \d{4} at \d\d:\d\d (1 day|2[34] hours) left\s+Downloads left\s+2$/);
    assert.deepEqual((await receiptOf(server, share)).claims, []);

    const got = await download(page);
    assert.equal(got.name, "Grüße 🎁.pdf");
    assert.ok((await readFile(got.path)).equals(content));
    await page.getByText("Every byte is here and verified.", { exact: true }).waitFor();
    const { claims } = await receiptOf(server, share);
    assert.deepEqual(
      claims.map(({ state }) => state),
      ["finished"],
    );

    const again = await download(page, () => button(page, "Save again").click());
    assert.ok((await readFile(again.path)).equals(content));
  });
});

onStore("embedded", "the page behind a link", (test) => {
  test("claims on a person's click alone", async ({ server, openModern }) => {
    const share = await sent(server, [["a.txt", "a"]]);
    const page = await openModern();
    const claims = [];
    page.context().on("request", (request) => request.method() === "POST" && claims.push(request.url()));
    await page.goto(share.link);
    await button(page, "Download").waitFor();
    const isOffered = await page.evaluate(async () => {
      const button = document.getElementById("download");
      button.click();
      button.dispatchEvent(new MouseEvent("click", { bubbles: true }));
      button.dispatchEvent(new PointerEvent("click", { bubbles: true }));
      button.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
      await new Promise((resolve) => setTimeout(resolve));
      return document.getElementById("transfer").hidden && !document.getElementById("offer").hidden;
    });
    assert.ok(isOffered, "a script's click began a download");
    assert.deepEqual(claims, []);

    await button(page, "Download").focus();
    const got = await download(page, () => page.keyboard.press("Enter"));
    assert.equal(await readFile(got.path, "utf8"), "a");
    assert.equal(claims.length, 1);
  });

  test("keeps the secret in the address until the claim is granted; a reload works before and after", async (scene) => {
    const { server, openModern } = scene;
    const share = await sent(server, [["a.txt", "a"]]);
    const secret = new URL(share.link).hash.slice(1);
    const page = await openModern();
    const asked = [];
    page
      .context()
      .on("request", (request) =>
        asked.push([request.url(), JSON.stringify(request.headers()), request.postData()].join(" ")),
      );
    await page.goto(share.link);
    await button(page, "Download").waitFor();
    await page.getByRole("link", { name: "Skip to content" }).focus();
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    assert.equal(page.url(), share.link);
    await page.reload();
    await download(page);
    await page.getByText("Every byte is here").waitFor();
    assert.equal(page.url(), share.link.replace(/#.*/, ""));
    assert.ok(!(await page.title()).includes(secret));

    await page.reload();
    await page.getByText(/You took it with this browser on/).waitFor();
    const got = await download(page, () => button(page, "Save").click());
    assert.equal(await readFile(got.path, "utf8"), "a");
    assert.ok(asked.length > 10 && !asked.some((request) => request.includes(secret)), "the secret was sent");
  });

  test("asks again where the answer breaks off, or is somebody else's", async ({ server, openModern }) => {
    const share = await sealed(server, file(randomBytes(10)));
    const page = await openModern();
    let answers = ['{"size":', "<!doctype html><title>Log in</title>"];
    await page.route(`**/api/v1/shares/${share.id}`, (route) => {
      const body = answers.shift();
      return body === undefined ? route.continue() : route.fulfill({ status: 200, contentType: "application/json", body });
    });
    await page.goto(share.link);
    for (let times = 0; times < 2; times += 1) {
      await page.getByText("The server can’t be reached just now.").waitFor();
      await button(page, "Try again now").click();
    }
    await button(page, "Download").waitFor();
  });

  test("begins anew with a link that is put into its address", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["a.txt", "a"]]);
    const page = await openModern();
    await page.goto(share.link.replace(/#.*/, ""));
    await says(page, "Nothing here");
    await page.goto(share.link);
    await button(page, "Download").waitFor();
    await page.goto(`${share.link}.`);
    await button(page, "Download").waitFor();
  });

  test("removes the copy when it is told to", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["a.txt", "a"]]);
    const page = await openModern();
    await page.goto(share.link);
    await download(page);
    await button(page, "Remove the copy from this browser").click();
    await page.getByText("The copy is removed from this browser.").waitFor();
    assert.equal(await button(page, "Save again").count(), 0);
    const left = await page.evaluate(async () => {
      const names = [];
      const walk = async (folder) => {
        for await (const [name, entry] of folder) entry.kind === "file" ? names.push(name) : await walk(entry);
      };
      await walk(await navigator.storage.getDirectory());
      return names;
    });
    assert.deepEqual(left, []);
    await page.reload();
    await says(page, "Already taken");
  });

  test("shows names as what they are, and the rest on demand", async ({ server, openModern }) => {
    const names = ["<img src=x onerror=alert(1)>.txt", "photo\u202egpj.exe", "a\u0007b.txt", `${"n".repeat(200)}.txt`];
    const more = [...Array(20).keys()].map((number) => `Photos/Summer/${number}.jpg`);
    const share = await sealed(
      server,
      [...names, ...more].map((name) => ({ name, content: Buffer.from("x") })),
      {
        note: "</blockquote><script>alert(1)</script>",
      },
    );
    const page = await openModern({ viewport: { width: 320, height: 640 } });
    await page.goto(share.link);
    await says(page, "24 files for you");
    const shown = page.locator("#files .name");
    assert.equal(await shown.count(), 12);
    assert.deepEqual((await shown.allTextContents()).slice(0, 3), [names[0], "photo\ufffdgpj.exe", "a\ufffdb.txt"]);
    assert.equal(await page.locator("main img, main script, main blockquote *").count(), 0);
    await page.getByText("12 more").click();
    await page.getByText("19.jpg").waitFor();
    assert.equal(await page.locator("#more-files li").count(), 12);
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert.equal(overflow, 0, "the page must be scrolled sideways");
  });
});

onStore("embedded", "the page behind a link with a password", (test) => {
  test("asks for it; a wrong one costs nothing and shows at the field; the right one opens", async ({
    server,
    openModern,
    watch,
  }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["geheim 🔒.txt", "secret"]], { password: "Mähne 7", note: "a note" });
    const page = await openModern();
    await page.goto(share.link);
    const field = page.getByLabel("Password");
    await field.waitFor();
    assert.equal((await receiptOf(server, share)).wrong_proofs, 0, "looking was a guess");
    const locked = await page.locator("main").innerText();
    assert.ok(!locked.includes("geheim") && !locked.includes("a note"), "the locked page tells too much");

    await field.fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("That password is wrong. The file is still there: try again.").first().waitFor();
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    assert.equal(await field.getAttribute("aria-describedby"), "password-error");
    assert.ok(await field.evaluate((input) => input === document.activeElement), "the field has no focus");
    const { wrong_proofs: wrong, claims, state } = await receiptOf(server, share);
    assert.deepEqual([wrong, claims, state], [1, [], "ready"]);

    await page.keyboard.type("Mähne 7");
    await page.keyboard.press("Enter");
    await page.getByText("geheim 🔒.txt").waitFor();
    assert.equal(await page.locator("blockquote").innerText(), "a note");
    const got = await download(page);
    assert.equal(await readFile(got.path, "utf8"), "secret");
  });

  test("says when it may be tried again after too many", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["a.txt", "a"]], { password: "p" });
    for (let guess = 0; guess < 10; guess += 1) {
      const body = new URLSearchParams({ password: `no ${guess}` });
      await fetch(share.plain_link, { method: "POST", body, redirect: "manual" });
    }
    const page = await openModern();
    await page.goto(share.link);
    await page.getByLabel("Password").fill("p");
    await page.keyboard.press("Enter");
    await page
      .locator("#password-error")
      .filter({ hasText: /Too many wrong passwords\. .* try again at \d\d:\d\d/ })
      .waitFor();
    assert.equal((await receiptOf(server, share)).state, "ready");
  });

  test("says that it can't read what the right one opens", async ({ server, openModern, watch }) => {
    const share = await sealed(server, file(randomBytes(10)), { password: "p" });
    const page = await openModern();
    await page.route(`**/api/v1/shares/${share.id}`, async (route) => {
      const answer = await route.fetch();
      const seen = await answer.json();
      if (seen.manifest) seen.manifest = encode(randomBytes(decode(seen.manifest).length));
      await route.fulfill({ response: answer, json: seen });
    });
    await page.goto(share.link);
    await page.getByLabel("Password").fill("p");
    await page.keyboard.press("Enter");
    await says(page, "It can’t be shown");
    assert.equal((await receiptOf(server, share)).state, "ready");
    watch.allow(REFUSALS);
  });

  test("does not offer what no message is as long as", async ({ server, openModern }) => {
    const share = await sealed(server, file(randomBytes(10)), { change: () => Buffer.alloc(21 + 262_144 + 17) });
    const page = await openModern();
    await page.goto(share.link);
    await says(page, "It can’t be shown");
    assert.equal((await receiptOf(server, share)).state, "ready");
  });

  test("tells what became of it to one who has both halves of the key", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["a.txt", "a"]], { password: "p" });
    assert.equal((await revoke(server, share)).status, 204);
    const page = await openModern();
    await page.goto(share.link);
    await says(page, "Nothing here");
    await page.getByLabel("Password").fill("wrong");
    await page.keyboard.press("Enter");
    await page.locator("#password-error").filter({ hasText: "That password opens nothing here." }).waitFor();
    await page.getByLabel("Password").fill("p");
    await page.keyboard.press("Enter");
    await says(page, "Withdrawn");
  });
});

onStore("embedded", "the page behind a link to a text", (test) => {
  test("reveals it on a click, copies it, and reveals it again after a reload", async ({ server, openModern }) => {
    const words = "Der Schlüssel liegt\nunter der Matte 🗝 <b>";
    const share = await sealed(server, text(words), { note: "bitte merken" });
    const page = await openModern();
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: server });
    await page.goto(share.link);
    await says(page, "A text for you");
    assert.ok(!(await page.locator("main").innerText()).includes("Matte"));
    await button(page, "Reveal the text").click();
    const area = page.getByLabel("The text");
    await area.waitFor();
    assert.equal(await area.inputValue(), words);
    assert.ok(await area.evaluate((area) => area.matches(":read-only") && area === document.activeElement));
    await button(page, "Copy").click();
    await button(page, "Copied").waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), words);
    const got = await download(page, () => button(page, "Save as a file").click());
    assert.equal(await readFile(got.path, "utf8"), words);

    await page.reload();
    await page.getByText(/You took it with this browser on/).waitFor();
    assert.deepEqual([await area.isVisible(), await area.inputValue()], [false, ""]);
    await button(page, "Reveal the text").click();
    await area.waitFor();
    assert.equal(await area.inputValue(), words);
    assert.equal((await receiptOf(server, share)).claims.length, 1);
  });

  test("offers one that is too long to read as a file", async ({ server, openModern }) => {
    const share = await sealed(server, text("x".repeat(2 ** 20 + 1)));
    const page = await openModern();
    await page.goto(share.link);
    const got = await download(page);
    assert.equal(got.name, "text.txt");
  });
});

onStore("embedded", "a link that comes too late", (test) => {
  test("tells what happened, and when, to one who has the key", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const [first, second] = [await sent(server, [["a.txt", "a"]]), await sent(server, [["a.txt", "a"]])];
    await taken(first);
    await revoke(server, second);
    const page = await openModern();
    await page.goto(first.link);
    await says(page, "Already taken");
    const main = await page.locator("main").innerText();
    assert.match(main, /It was taken on \d+ \w+ \d{4} at \d\d:\d\d\.\s+Was it not you\? Tell the sender/);
    assert.equal(page.url(), first.link.replace(/#.*/, ""));
    assert.equal(await page.title(), "Already taken");
    await page.reload();
    await says(page, "Already taken");
    await page.goto(second.link);
    await says(page, "Withdrawn");
  });

  test("says the same to everybody else, whether there is a share or not", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const [ready, gone] = [await sent(server, [["a.txt", "a"]]), await sent(server, [["a.txt", "a"]])];
    await taken(gone);
    const none = `${ready.id.slice(0, 12)}4${"0".repeat(3)}8${ready.id.slice(17)}`;
    const page = await openModern();
    const shown = async (address) => {
      await page.goto("about:blank");
      await page.goto(address);
      await says(page, "Nothing here");
      await page.locator("#looking").waitFor({ state: "hidden" });
      return page.locator("main").innerText();
    };
    const wrong = "#AAAAAAAAAAAAAAAAAAAAAA";
    const withKey = [];
    for (const id of [ready.id, gone.id, none]) withKey.push(await shown(`${server}/s/${id}${wrong}`));
    assert.equal(new Set(withKey).size, 1, withKey.join("\n---\n"));
    const without = [];
    for (const id of [ready.id, gone.id, none])
      without.push(await shown(`${server}/s/${id}`), await shown(`${server}/s/${id}#no`));
    assert.equal(new Set(without).size, 1, without.join("\n---\n"));
    assert.equal((await receiptOf(server, ready)).state, "ready");
  });

  test("gives a share that was opened by two to the first, and tells the other", async ({
    server,
    openModern,
    watch,
  }) => {
    watch.allow(REFUSALS);
    const share = await sent(server, [["a.txt", "first"]]);
    const [one, other] = [await openModern(), await openModern()];
    for (const page of [one, other]) {
      await page.goto(share.link);
      await button(page, "Download").waitFor();
    }
    await download(one);
    await button(other, "Download").click();
    await says(other, "Already taken");
    assert.match(await other.locator("main").innerText(), /Was it not you\?/);
  });
});

onStore("embedded", "a download on a bad network", (test) => {
  test("says that it waits, goes on by itself, and after a reload without a click", async ({
    server,
    openModern,
    proxy,
    watch,
  }) => {
    watch.allow(LOST);
    const content = randomBytes(40 * 2 ** 20);
    const share = await sealed(server, file(content));
    const between = await proxy();
    const page = await openModern();
    await page.goto(share.link.replace(server, between.address));
    await button(page, "Download").waitFor();
    const cut = between.cutAfter(20 * 2 ** 20, "down").then(() => between.refuse());
    await button(page, "Download").click();
    await cut;
    await page.getByRole("heading", { name: "Connection lost" }).waitFor();
    const problem = page
      .locator("#problem")
      .filter({ hasText: /It goes on by itself .* the server waits until \d\d:\d\d\./ });
    await problem.waitFor();
    assert.match(await page.title(), /^\d+ % · A file for you$/);

    await between.accept();
    between.throttle(4 * 2 ** 20, ["down"]);
    await button(page, "Try now").click();
    await page.getByRole("heading", { name: "Downloading" }).waitFor();
    await button(page, "Pause").click();
    await page.getByRole("heading", { name: "Paused" }).waitFor();
    assert.ok(
      await button(page, "Go on").evaluate((button) => button === document.activeElement),
      "the keyboard is lost",
    );
    between.throttle(Infinity, ["down"]);
    const got = await download(page, () => page.reload());
    assert.ok((await readFile(got.path)).equals(content));
    assert.equal(
      between.requests.filter(({ method, target }) => method === "POST" && target.endsWith("/claims")).length,
      1,
    );
  });

  test("that brings something else says so, keeps the claim, and goes on", async ({ server, openModern, proxy }) => {
    const content = randomBytes(600_000);
    const share = await sealed(server, file(content));
    const between = await proxy();
    const page = await openModern();
    await page.goto(share.link.replace(server, between.address));
    const isContent = ({ method, target }) => method === "GET" && /\/claims\/[^/]+$/.test(target);
    const honest = between.tamper(isContent, (answer) => {
      answer.body[answer.body.length - 5] ^= 1;
      return answer;
    });
    await button(page, "Download").click();
    await page.locator("#problem").filter({ hasText: "What arrived is not what was sent" }).waitFor();
    assert.equal((await receiptOf(server, share)).state, "claimed");
    honest();
    const got = await download(page, () => button(page, "Go on").click());
    assert.ok((await readFile(got.path)).equals(content));
  });
});

onStore("embedded", "where a browser can't unseal", (test) => {
  test("the page says so, and offers the plain link", async ({ server, openModern }) => {
    const share = await sent(server, [["a.txt", "plain"]]);
    const page = await openModern();
    await page.addInitScript(() => Object.defineProperty(Crypto.prototype, "subtle", { value: undefined }));
    await page.goto(share.link);
    await page.getByText(/Over plain http your browser won’t unseal anything/).waitFor();
    await page.getByRole("link", { name: "Let the server unseal it" }).click();
    await page.waitForURL(share.plain_link);
    const got = await download(page);
    assert.equal(await readFile(got.path, "utf8"), "plain");
  });
});

onStore("embedded", "a download that stood still for too long", (test) => {
  test("is called this browser's own, and not somebody else's", async ({ ownServer, openModern, proxy, watch }) => {
    watch.allow(REFUSALS);
    const { address } = await ownServer(["--lease", "2s"]);
    const share = await sealed(address, file(randomBytes(20 * 2 ** 20)));
    const between = await proxy({ before: address });
    const page = await openModern();
    await page.goto(share.link.replace(address, between.address));
    await button(page, "Download").waitFor();
    between.throttle(2 ** 20, ["down"]);
    await button(page, "Download").click();
    await page.getByRole("heading", { name: "Downloading" }).waitFor();
    await page.goto("about:blank");
    while ((await receiptOf(address, share)).state !== "lapsed") await new Promise((resolve) => setTimeout(resolve, 200));
    await page.goto(share.link.replace(address, between.address));
    await page.getByText("You took it, but its download was not done in time.").waitFor();
  });
});

onStore("embedded", "where a browser has no room of its own", (test) => {
  /** @param {Page} page */
  const cramped = (page) =>
    page.addInitScript(() => (navigator.storage.estimate = async () => ({ quota: 0, usage: 0 })));

  test("the page asks for a place, and takes nothing from one who thinks better of it", async ({
    server,
    openModern,
  }) => {
    const share = await sent(server, [["a.txt", "a"]]);
    const page = await openModern();
    await cramped(page);
    await page.addInitScript(() => {
      globalThis.showSaveFilePicker = async ({ suggestedName }) => {
        globalThis.asked = suggestedName;
        throw new DOMException("", "AbortError");
      };
    });
    await page.goto(share.link);
    await page.getByText("You choose where it is saved; keep this page open until it is whole.").waitFor();
    await button(page, "Download").click();
    await page.waitForFunction(() => globalThis.asked === "a.txt");
    assert.ok(await button(page, "Download").isVisible());
    assert.deepEqual((await receiptOf(server, share)).claims, []);
  });

  test("the page holds a small file in memory, and warns of a reload that would lose it", async ({
    server,
    openModern,
    proxy,
  }) => {
    const content = randomBytes(6 * 2 ** 20);
    const share = await sealed(server, file(content));
    const between = await proxy();
    const page = await openModern();
    await cramped(page);
    await page.addInitScript(() => {
      delete globalThis.showSaveFilePicker;
      Reflect.deleteProperty(Navigator.prototype, "serviceWorker");
    });
    await page.goto(share.link.replace(server, between.address));
    await page.getByText("It is held in memory until it is whole; keep this page open.").waitFor();
    between.throttle(2 ** 20, ["down"]);
    await button(page, "Download").click();
    await page.getByRole("heading", { name: "Downloading" }).waitFor();
    const asked = new Promise((resolve) =>
      page.once("dialog", (dialog) => dialog.dismiss().then(() => resolve(dialog.type()))),
    );
    await page.evaluate(() => location.reload());
    assert.equal(await asked, "beforeunload");
    between.throttle(Infinity, ["down"]);
    const got = await page.waitForEvent("download");
    assert.ok((await readFile(await got.path())).equals(content));
    const again = await download(page, () => button(page, "Save again").click());
    assert.ok((await readFile(again.path)).equals(content));
  });

  test("what another tab has is not said to be here", async ({ server, openModern, watch }) => {
    const share = await sealed(server, file(randomBytes(1000)));
    const first = await openModern();
    const second = await first.context().newPage();
    await watch.follow(second);
    for (const page of [first, second]) {
      await cramped(page);
      await page.addInitScript(() => {
        delete globalThis.showSaveFilePicker;
        Reflect.deleteProperty(Navigator.prototype, "serviceWorker");
      });
      await page.goto(share.link);
      await button(page, "Download").waitFor();
    }
    await Promise.all([first.waitForEvent("download"), button(first, "Download").click()]);
    await first.getByRole("heading", { name: "Arrived" }).waitFor();
    await button(second, "Download").click();
    await second.getByText("Another tab of this browser has it already.").waitFor();
    assert.equal(await button(second, "Go on").isVisible(), false);
  });

  test("because it keeps no site's data, the page holds a small file in memory", async ({ server, folder, openProfile, watch }) => {
    await mkdir(join(folder, "strict", "Default"), { recursive: true });
    const settings = { profile: { default_content_setting_values: { cookies: 2 } } };
    await writeFile(join(folder, "strict", "Default", "Preferences"), JSON.stringify(settings));
    const content = randomBytes(6 * 2 ** 20);
    const share = await sealed(server, file(content));
    const page = await openProfile("strict");
    await page.addInitScript(() => delete globalThis.showSaveFilePicker);
    await page.goto(share.link);
    const opens = () => new Promise((resolve) => (indexedDB.open("x").onerror = () => resolve("barred")));
    assert.equal(await page.evaluate(opens).catch(() => "barred"), "barred");
    await page.getByText("It is held in memory until it is whole; keep this page open.").waitFor();
    const got = await download(page, () => button(page, "Download").click());
    assert.ok((await readFile(got.path)).equals(content));
    await page.getByText("Every byte is here and verified.", { exact: true }).waitFor();
    assert.equal((await receiptOf(server, share)).state, "finished");
    await button(page, "Remove the copy from this browser").click();
    await page.getByText("The copy is removed from this browser.").waitFor();
  });

  test("the page says of a large file that there is none, and offers nothing that would lose it", async ({
    server,
    openModern,
  }) => {
    const share = await sealed(server, file(randomBytes(1000)));
    const page = await openModern();
    await cramped(page);
    await page.addInitScript(() => {
      delete globalThis.showSaveFilePicker;
      Reflect.deleteProperty(Navigator.prototype, "serviceWorker");
    });
    const huge = { size: sealedLength(3_000_000_000) };
    await page.route(`**/api/v1/shares/${share.id}`, async (route) => {
      const answer = await route.fetch();
      const seen = await answer.json();
      if (!seen.manifest) return route.fulfill({ response: answer });
      const keys = await deriveKeys(decode(share.secret));
      const manifest = await sealManifest(keys.manifest, { v: 1, files: [{ name: "Film.mp4", size: 3_000_000_000 }] });
      await route.fulfill({ response: answer, json: { ...seen, ...huge, manifest: encode(manifest) } });
    });
    await page.goto(share.link);
    await page.getByText("This browser has no room for a file of this size.").waitFor();
    assert.ok(await button(page, "Download").isDisabled());
  });
});

onStore("embedded", "in German", (test) => {
  test("the page behind a link speaks to the end", async ({ server, openModern, watch }) => {
    watch.allow(REFUSALS);
    const share = await sealed(server, [
      { name: "eins.txt", content: Buffer.alloc(1500) },
      { name: "zwei.txt", content: Buffer.from("zwei") },
    ]);
    const page = await openModern({ locale: "de-DE" });
    await page.goto(share.link);
    await says(page, "2 Dateien für dich");
    await page.locator(".facts").waitFor();
    assert.match(
      await page.locator(".facts").innerText(),
      /Zusammen\s+1,5 KiB, als ein Zip\s+Wartet bis\s+\d+\. \w+ \d{4} um \d\d:\d\d noch/,
    );
    await download(page, () => button(page, "Herunterladen").click());
    await page.getByText("Jedes Byte ist da und geprüft.").waitFor();
    const words = await page.locator("main").innerText();
    assert.ok(!/\b(the|your|file|download(?!s))\b/i.test(words.replaceAll("Download", "")), words);
    assert.equal(await heading(page), "2 Dateien für dich");
  });
});
