import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { open as openFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { sha256 } from "./flows.js";
import { download, onBothStores, stamp } from "./harness.js";

const MEBIBYTE = 1024 * 1024;

/** Sends with the form, filled in by `fill`; gives the two links of the result page. */
async function send(page, server, fill) {
  await page.goto(`${server}/`);
  await fill();
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("heading", { name: "Ready to be taken." }).waitFor({ timeout: 100_000 });
  const link = await page.getByLabel("Link", { exact: true }).inputValue();
  const receipt = await page.getByLabel("Receipt link").inputValue();
  return { link, receipt };
}

onBothStores("the form sends", (test) => {
  test("a file under its own name, with a note, to one person", async ({ server, folder, open }) => {
    const page = await open();
    const name = "Grüße & Küsse 🎁.pdf";
    const content = randomBytes(200_000);
    await writeFile(join(folder, name), content);
    const { link, receipt } = await send(page, server, async () => {
      await page.getByLabel("Files").setInputFiles(join(folder, name));
      await page.getByLabel("Note to the recipient").fill("Für dich <b>allein</b>:\nbitte drucken");
    });
    assert.match(link, new RegExp(`^${server}/s/[0-9a-f]{32}/[A-Za-z0-9_-]{22}$`));
    assert.match(receipt, new RegExp(`^${server}/r/[0-9a-f]{32}/[A-Za-z0-9_-]{22}$`));

    assert.equal(await stamp(page, receipt), "WAITING");

    await page.goto(link);
    const files = page.getByRole("list", { name: "Files" }).getByRole("listitem");
    assert.deepEqual(await files.allInnerTexts(), [`${name}\n195.3 KiB`]);
    assert.equal(await page.locator("blockquote").innerText(), "Für dich <b>allein</b>:\nbitte drucken");
    const kept = await page.getByRole("definition").filter({ hasText: "left" }).innerText();
    assert.match(kept, /^\d+ \w+ \d{4}, \d\d:\d\d\sUTC (1 day|23 hours) left$/);

    const got = await download(page);
    assert.equal(got.name, name);
    assert.deepEqual(await readFile(got.path), content);

    const again = await page.goto(link);
    assert.equal(again.status(), 410);
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Already taken");

    assert.equal(await stamp(page, receipt), "ON ITS WAY");
    assert.match(await page.locator("main").innerText(), /1 of 1 taken[\s\S]*195\.3 KiB sent/);
  });

  test("several files, which arrive as one zip", async ({ server, folder, open }) => {
    const page = await open();
    const files = { "Übersicht.txt": "eins", "📷 photo.jpg": randomBytes(70_000), "empty": "" };
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
    const { link } = await send(page, server, () =>
      page.getByLabel("Files").setInputFiles(Object.keys(files).map((name) => join(folder, name))),
    );

    await page.goto(link);
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "3 files for you");
    const got = await download(page);
    assert.match(got.name, /^onetimeshare-[0-9a-f]{8}\.zip$/);
    const unpacked = join(folder, "unpacked");
    execFileSync("python3", ["-m", "zipfile", "-e", got.path, unpacked]);
    for (const [name, content] of Object.entries(files)) {
      assert.deepEqual(await readFile(join(unpacked, name)), Buffer.from(content), name);
    }
  });

  test("a text instead of a file", async ({ server, open }) => {
    const page = await open();
    const { link } = await send(page, server, async () => {
      await page.getByText("Send a text instead").click();
      await page.getByLabel("Text", { exact: true }).fill("Der Schlüssel liegt\nunter der Matte 🗝");
    });
    await page.goto(link);
    const got = await download(page);
    assert.equal(got.name, "text.txt");
    // HTML forms send line ends as CRLF.
    assert.equal(await readFile(got.path, "utf8"), "Der Schlüssel liegt\r\nunter der Matte 🗝");
  });

  test("an empty file", async ({ server, folder, open }) => {
    const page = await open();
    await writeFile(join(folder, "nothing.txt"), "");
    const { link } = await send(page, server, () => page.getByLabel("Files").setInputFiles(join(folder, "nothing.txt")));
    await page.goto(link);
    assert.match(await page.getByRole("list", { name: "Files" }).innerText(), /nothing\.txt\s+0 bytes/);
    const got = await download(page);
    assert.equal(got.name, "nothing.txt");
    assert.equal((await readFile(got.path)).length, 0);
  });

  test("300 MiB without a bit changed", async ({ server, folder, open }) => {
    const page = await open();
    const path = join(folder, "large.bin");
    const file = await openFile(path, "w");
    for (let written = 0; written < 300; written += 10) await file.write(randomBytes(10 * MEBIBYTE));
    await file.close();
    const { link } = await send(page, server, () => page.getByLabel("Files").setInputFiles(path));
    await page.goto(link);
    const got = await download(page);
    assert.equal(got.name, "large.bin");
    assert.equal(await sha256(got.path), await sha256(path));
  });

  test("for as long and to as many as was chosen", async ({ server, folder, open }) => {
    const page = await open();
    await writeFile(join(folder, "a.txt"), "a");
    const { link, receipt } = await send(page, server, async () => {
      await page.getByLabel("Kept for").selectOption("1 hour");
      await page.getByLabel("Downloads").fill("2");
      await page.getByLabel("Files").setInputFiles(join(folder, "a.txt"));
    });
    await page.goto(link);
    const facts = await page.locator(".facts").innerText();
    assert.match(facts, /(1 hour|59 minutes) left/);
    assert.match(facts, /Downloads left\s+2/);

    await download(page);
    assert.equal(await stamp(page, receipt), "WAITING FOR MORE");
    assert.equal((await page.goto(link)).status(), 200);
    await download(page);
    assert.equal((await page.goto(link)).status(), 410);
  });

  test("nothing where nothing was chosen, and says so", async ({ server, open }) => {
    const page = await open();
    await page.goto(`${server}/`);
    const [answer] = await Promise.all([page.waitForResponse(`${server}/`), page.getByRole("button", { name: "Send" }).click()]);
    assert.equal(answer.status(), 400);
    assert.match(await page.locator("main").innerText(), /There is no file and no text in the form: choose one\./);
  });
});
