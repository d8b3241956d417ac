// The command line and the pages: what one sends the other receives.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { assertSame, give, look, MEBIBYTE, passwordOf, randomFile, REFUSED, stamped, take } from "./flows.js";
import { onBothStores } from "./harness.js";
import { binary } from "./server.js";

/**
 * Runs the program as a user whose home is `folder`; gives what it printed.
 *
 * @param {string} folder
 * @param {string[]} words
 * @param {string} [input] for its standard input
 * @returns {Promise<{ stdout: string, stderr: string }>}
 */
function run(folder, words, input = "") {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, words, { cwd: folder, env: { PATH: process.env.PATH, HOME: folder } });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (piece) => (stdout += piece));
    child.stderr.on("data", (piece) => (stderr += piece));
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve({ stdout, stderr }) : reject(new Error(`${code}: ${stderr}`))));
    child.stdin.end(input);
  });
}

/**
 * Sends; gives the links.
 *
 * @param {string} folder
 * @param {string} server
 * @param {string[]} words
 * @param {string} [input]
 */
async function sent(folder, server, words, input) {
  const { stdout, stderr } = await run(folder, ["send", "--server", server, ...words], input);
  const receipt = /^Receipt, for you alone: (.*)$/m.exec(stderr)?.[1];
  assert.ok(receipt, stderr);
  return { link: stdout.trim(), receipt };
}

onBothStores("command line and page", (test) => {
  test("from the page to the command line: a file of several parts, and its receipt", async ({ openModern, server, folder, watch }) => {
    watch.allow(REFUSED);
    const path = await randomFile(join(folder, "Grüße 🎁.bin"), 40 * MEBIBYTE + 1);
    const page = await openModern();
    const { link, receipt } = await give(page, server, { files: path, note: "von der Seite" });
    await run(folder, ["receive", "--yes", "-o", "in", link]);
    await assertSame(join(folder, "in", "Grüße 🎁.bin"), path);
    await stamped(page, receipt, /^Arrived$/i);
    const { stdout } = await run(folder, ["receipt", receipt]);
    assert.match(stdout, /^finished: /);
  });

  test("from the command line to the page: a file of several parts, and its receipt", async ({ openModern, server, folder, watch }) => {
    watch.allow(REFUSED);
    const path = await randomFile(join(folder, "Grüße 🎁.bin"), 40 * MEBIBYTE + 1);
    const { link, receipt } = await sent(folder, server, [path, "--note", "von der <b>Zeile</b>"]);
    const page = await openModern();
    await page.goto(link);
    await page.locator("blockquote", { hasText: "von der <b>Zeile</b>" }).waitFor();
    const got = await take(page, link);
    assert.equal(got.name, "Grüße 🎁.bin");
    await assertSame(got.path, path);
    await stamped(page, receipt, /^Arrived$/i);
  });

  test("a folder with a password goes both ways", async ({ openModern, server, folder }) => {
    const names = ["Fötos/a.bin", "Fötos/Sommer ☀️/b.bin", "Fötos/leer"];
    for (const [number, name] of names.entries()) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await randomFile(join(folder, name), [300_000, 1, 0][number]);
    }
    const password = "Mähne 7";

    const page = await give(await openModern(), server, { folder: join(folder, "Fötos"), password });
    await run(folder, ["receive", "--yes", "--password-stdin", "-o", "in", page.link], `${password}\n`);
    for (const name of names) await assertSame(join(folder, "in", name), join(folder, name));

    const { link } = await sent(folder, server, ["--password-stdin", "Fötos"], `${password}\n`);
    const got = await take(await openModern(), link, { password });
    assert.match(got.name, /\.zip$/);
    execFileSync("python3", ["-m", "zipfile", "-e", got.path, join(folder, "unpacked")]);
    for (const name of names) await assertSame(join(folder, "unpacked", name), join(folder, name));
  });

  test("a text goes both ways, with a password too", async ({ openModern, server, folder }) => {
    const text = "Der Schlüssel liegt\nunter der Matte 🗝 <b>";
    for (const password of [undefined, "Mähne 7"]) {
      const page = await give(await openModern(), server, { text, password });
      const { stdout } = await run(folder, ["receive", "--yes", ...(password ? ["--password-stdin"] : []), page.link], `${password}\n`);
      assert.equal(stdout, text);

      const words = password ? ["--password-stdin", "--text", "-"] : ["--text", "-"];
      const { link } = await sent(folder, server, words, password ? `${password}\n${text}` : text);
      const recipient = await openModern();
      await (await look(recipient, link, { password })).click();
      await recipient.getByLabel("The text").waitFor();
      assert.equal(await recipient.getByLabel("The text").inputValue(), text);
    }
  });

  test("what the page can't know beforehand arrives: a stream of unknown length", async ({ openModern, server, folder }) => {
    const { stdout } = await run(folder, ["send", "--server", server, "--password-stdin", "-"], `p\n${"x".repeat(5 * MEBIBYTE)}`);
    const page = await openModern();
    await page.goto(stdout.trim());
    await passwordOf(page).waitFor();
    const got = await take(page, stdout.trim(), { password: "p" });
    assert.equal(got.name, "stdin");
    assert.equal((await readFile(got.path, "utf8")).length, 5 * MEBIBYTE);
  });
});
