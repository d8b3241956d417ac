import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { arrive, assertSame, give, look, MEBIBYTE, passwordOf, randomFile, REFUSED, result, send, stamped, take } from "./flows.js";
import { onBothStores } from "./harness.js";

/** Plain bytes of a full record. */
const RECORD = 262_127;

onBothStores("from page to page", (test) => {
  for (const size of [0, 1, RECORD - 1, RECORD, RECORD + 1]) {
    test(`goes a file of ${size} bytes`, async ({ openModern, server, folder, watch }) => {
      // The receipt asks what is left of a share that is gone.
      watch.allow(REFUSED);
      const path = await randomFile(join(folder, "Grüße & Küsse 🎁.bin"), size);
      const { link, receipt } = await give(await openModern(), server, { files: path });
      assert.match(link, new RegExp(`^${server}/s/[0-9a-f]{32}#[A-Za-z0-9_-]{22}$`));
      assert.match(receipt, new RegExp(`^${server}/r/[0-9a-f]{32}#[A-Za-z0-9_-]{22}$`));
      const page = await openModern();
      const got = await take(page, link);
      assert.equal(got.name, "Grüße & Küsse 🎁.bin");
      await assertSame(got.path, path);
      await stamped(page, receipt, /^Arrived$/i);
    });
  }

  test("goes a file with a password and a note; the password is asked for, and a wrong one costs nothing", async (scene) => {
    const { openModern, server, folder, watch } = scene;
    watch.allow(REFUSED);
    const path = await randomFile(join(folder, "Gehälter.bin"), 2 * RECORD);
    const { link, receipt } = await give(await openModern(), server, { files: path, password: "Mähne 7", note: "bitte <b>drucken</b>" });
    const page = await openModern();
    await page.goto(link);
    const field = passwordOf(page);
    await field.fill("falsch");
    await page.getByRole("button", { name: "Open", exact: true }).click();
    await page.locator("#password-error", { hasText: "That password is wrong." }).waitFor();
    assert.ok(!(await page.locator("main").innerText()).includes("Gehälter"), "the locked page tells too much");
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    await field.fill("Mähne 7");
    await page.keyboard.press("Enter");
    const button = page.getByRole("button", { name: "Download", exact: true });
    await button.waitFor();
    assert.equal(await page.locator("blockquote").innerText(), "bitte <b>drucken</b>");
    const got = await arrive(page, () => button.click());
    assert.equal(got.name, "Gehälter.bin");
    await assertSame(got.path, path);
    await stamped(page, receipt, /^Arrived$/i);
    assert.match(await page.locator("main").innerText(), /Wrong password once/);
  });

  test("go 300 MB", async ({ openModern, server, folder }) => {
    const path = await randomFile(join(folder, "large.bin"), 300_000_000);
    const { link } = await give(await openModern(), server, { files: path }, 100_000);
    const page = await openModern();
    const button = await look(page, link);
    const got = await arrive(page, () => button.click(), 100_000);
    assert.equal(got.name, "large.bin");
    await assertSame(got.path, path);
  }, { timeout: 240_000 });

  test("goes a folder of 50 files, with umlauts and emoji, as one zip, and one by one", async ({ openModern, server, folder }) => {
    const root = join(folder, "Fötos 📷");
    const names = [...Array(50).keys()].map((number) => `${["", "Sommer ☀️/", "Grüße/Küsse/"][number % 3]}Bild ${number} ${"äöü🎁"[number % 3]}.bin`);
    for (const [number, name] of names.entries()) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await randomFile(join(root, name), number === 7 ? 0 : 1 + number * 9_001);
    }
    const { link } = await give(await openModern(), server, { folder: root, password: "p" });
    const page = await openModern();
    const got = await take(page, link, { password: "p" });
    assert.match(got.name, /\.zip$/);
    const unpacked = join(folder, "unpacked");
    execFileSync("python3", ["-m", "zipfile", "-t", got.path]);
    execFileSync("python3", ["-m", "zipfile", "-e", got.path, unpacked]);
    const listed = (await readdir(unpacked, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    assert.equal(listed.length, 50);
    for (const name of names) await assertSame(join(unpacked, "Fötos 📷", name), join(root, name));

    await page.getByText("Save the files one by one").click();
    const [single] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: `Save Fötos 📷/${names[4]}` }).click(),
    ]);
    await assertSame(await single.path(), join(root, names[4]));
  });

  for (const password of ["", "Schlüssel"]) {
    test(`goes a text, ${password ? "with" : "without"} a password, and is shown on a click`, async ({ openModern, server }) => {
      const text = "Der Schlüssel liegt\nunter der Matte 🗝 <b>";
      const { link } = await give(await openModern({ permissions: ["clipboard-read", "clipboard-write"] }), server, { text, password });
      const page = await openModern({ permissions: ["clipboard-read", "clipboard-write"] });
      const button = await look(page, link, { password });
      assert.ok(!(await page.locator("main").innerText()).includes("Matte"), "shown before anybody asked");
      await button.click();
      const shown = page.getByLabel("The text");
      await shown.waitFor();
      assert.equal(await shown.inputValue(), text);
      await page.getByRole("button", { name: "Copy", exact: true }).click();
      await page.waitForFunction((wanted) => navigator.clipboard.readText().then((found) => found === wanted), text);
    });
  }

  test("go several files and a text beside them", async ({ openModern, server, folder }) => {
    const paths = await Promise.all(["a.bin", "b.bin"].map((name) => randomFile(join(folder, name), 5)));
    const { link } = await give(await openModern(), server, { files: paths, text: "and this" });
    const page = await openModern();
    const got = await take(page, link);
    const unpacked = join(folder, "unpacked");
    execFileSync("python3", ["-m", "zipfile", "-e", got.path, unpacked]);
    assert.deepEqual((await readdir(unpacked)).sort(), ["a.bin", "b.bin", "text.txt"]);
    assert.equal(await readFile(join(unpacked, "text.txt"), "utf8"), "and this");
  });

  test("goes one thing after another from the same page, to as many as was said", async ({ openModern, server, folder, watch }) => {
    watch.allow(REFUSED);
    const path = await randomFile(join(folder, "a.bin"), MEBIBYTE);
    const sender = await openModern();
    const first = await give(sender, server, { files: path, downloads: 2 });
    await sender.getByRole("button", { name: "Send another" }).click();
    await sender.getByLabel(/^Files/).setInputFiles(path);
    await send(sender);
    await sender.waitForFunction((link) => /** @type {HTMLInputElement | null} */ (document.querySelector("#link"))?.value !== link, first.link);
    const second = await result(sender);
    assert.notEqual(second.link.split("#")[1], first.link.split("#")[1]);
    for (const link of [first.link, second.link, first.link]) await assertSame((await take(await openModern(), link)).path, path);
    const late = await openModern();
    await late.goto(first.link);
    await late.getByRole("heading", { name: "Already taken" }).waitFor();
  });
});
