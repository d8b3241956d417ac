// curl and the pages with JavaScript: what one sends the other receives.

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { assertSame, give, look, randomFile, take } from "./flows.js";
import { onBothStores } from "./harness.js";

const run = promisify(execFile);

/** Sizes of a folder's files, by their names. @type {Record<string, number>} */
const FILES = { "Fötos/a.bin": 300_000, "Fötos/Sommer ☀️/b.bin": 1, "Fötos/leer": 0 };
const PASSWORDS = [undefined, "Mähne 7"];
const TEXT = "Der Schlüssel liegt\nunter der Matte 🗝 <b>";

/** Runs curl in a folder; gives what it printed. @param {string} folder @param {string[]} words */
const curl = async (folder, ...words) => (await run("curl", ["-sfS", ...words], { cwd: folder })).stdout;

/**
 * Sends a form; gives the link whose secret no server sees again.
 *
 * @param {string} folder
 * @param {string} server
 * @param {string | undefined} password
 * @param {string[]} fields
 * @returns {Promise<string>}
 */
async function sent(folder, server, password, fields) {
  const words = [...(password ? [`password=${password}`] : []), ...fields].flatMap((field) => ["-F", field]);
  return JSON.parse(await curl(folder, "-H", "Accept: application/json", ...words, `${server}/`)).link;
}

/** What takes a share by its plain link. @param {string} link @param {string | undefined} password */
const taking = (link, password) => ["-L", "--data-urlencode", `password=${password ?? ""}`, link.replace("#", "/")];

/** Makes the files. @param {string} folder */
async function fill(folder) {
  for (const [name, size] of Object.entries(FILES)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await randomFile(join(folder, name), size);
  }
}

/** Unpacks a zip, and fails unless it has the files. @param {string} folder @param {string} zip */
async function assertHas(folder, zip) {
  const unpacked = join(folder, "unpacked");
  execFileSync("python3", ["-m", "zipfile", "-e", zip, unpacked]);
  for (const name of Object.keys(FILES)) await assertSame(join(unpacked, name), join(folder, name));
}

onBothStores("curl and page", (test) => {
  for (const password of PASSWORDS) {
    const how = password ? " with a password" : "";

    test(`from curl to the page: a folder${how}`, async ({ openModern, server, folder }) => {
      await fill(folder);
      const files = Object.keys(FILES).map((name) => `file=@${name};filename=${name}`);
      const link = await sent(folder, server, password, files);
      const got = await take(await openModern(), link, { password });
      await assertHas(folder, got.path);
    });

    test(`from the page to curl: a folder${how}`, async ({ openModern, server, folder }) => {
      await fill(folder);
      const { link } = await give(await openModern(), server, { folder: join(folder, "Fötos"), password });
      await curl(folder, "-o", "got.zip", ...taking(link, password));
      await assertHas(folder, join(folder, "got.zip"));
    });

    test(`from curl to the page: a text${how}`, async ({ openModern, server, folder }) => {
      const link = await sent(folder, server, password, [`text=${TEXT}`]);
      const page = await openModern();
      await (await look(page, link, { password })).click();
      await page.getByLabel("The text").waitFor();
      assert.equal(await page.getByLabel("The text").inputValue(), TEXT);
    });

    test(`from the page to curl: a text and a file${how}`, async ({ openModern, server, folder }) => {
      const text = await give(await openModern(), server, { text: TEXT, password });
      assert.equal(await curl(folder, ...taking(text.link, password)), TEXT);
      const path = await randomFile(join(folder, "a.bin"), 700_000);
      const file = await give(await openModern(), server, { files: path, password });
      await curl(folder, "-o", "b.bin", ...taking(file.link, password));
      assert.ok((await readFile(path)).equals(await readFile(join(folder, "b.bin"))));
    });
  }
});
