import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";

import { onBothStores, onStore } from "./harness.js";
import { sealed } from "./sealed.js";
import { PLAIN } from "../../static/lib/seal.js";

/** @typedef {import("playwright-core").Page} Page */

/**
 * Opens a page of the server, and in it the modules as the receive page uses them.
 *
 * @param {Page} page
 * @param {string} server
 * @param {import("./sealed.js").SealedShare} share
 */
async function visit(page, server, share) {
  await page.goto(`${server}/s/${share.id}`);
  await page.evaluate(async (share) => {
    const style = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=stylesheet]"));
    const library = new URL(".", style.href).pathname + "lib/";
    const [api, seal, save, download] = await Promise.all(
      ["api", "seal", "save", "download"].map((name) => import(`${library}${name}.js`)),
    );
    const keys = await seal.deriveKeys(seal.decode(share.secret), share.password);
    /** @type {any[]} */
    const states = [];
    const t = { api, seal, save, download, library, states, keys, share };
    t.begin = async (plan) => {
      const record = await download.remembered(share.id);
      const { size, manifest } = record?.manifest ? record : await peeked();
      const how = plan ?? (await save.plan(manifest, size, share.id));
      t.how = how;
      t.now = await download.receive({ id: share.id, secret: share.secret, keys, size, manifest, how }, (state) => states.push(state));
    };
    const peeked = async () => {
      const { size, manifest } = await api.peek(share.id, seal.encode(keys.proof));
      return { size, manifest: await seal.openManifest(keys.manifest, seal.decode(manifest), seal.plainLength(size)) };
    };
    globalThis.t = t;
  }, share);
}

/** The state that has one of these phases, as soon as there is one after the first `from`. */
async function phase(page, phases, from = 0) {
  const wanted = [phases].flat();
  const found = await page.waitForFunction(
    ([wanted, from]) => globalThis.t.states.slice(from).find(({ phase }) => wanted.includes(phase)),
    [wanted, from],
    { polling: 20, timeout: 60_000 },
  );
  return found.jsonValue();
}

/** Downloads to the end, and fails where that ends otherwise. */
async function finished(page) {
  const state = await phase(page, ["finished", "failed"]);
  assert.equal(state.phase, "finished", JSON.stringify(state));
  return state;
}

/** What the browser saves while `act` runs in the page. */
async function saved(page, act) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.evaluate(act)]);
  return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
}

const save = (page) => saved(page, () => globalThis.t.now.save());
const one = (content, name = "a.bin") => [{ name, content }];

onBothStores("a download", (test) => {
  for (const length of [0, 1, PLAIN - 1, PLAIN, PLAIN + 1, 5 * PLAIN + 3]) {
    test(`of ${length} bytes arrives, and is finished`, async ({ server, openModern }) => {
      const content = randomBytes(length);
      const share = await sealed(server, one(content));
      const page = await openModern();
      await visit(page, server, share);
      await page.evaluate(() => globalThis.t.begin());
      const state = await finished(page);
      assert.deepEqual([state.received, state.total], [length, length]);
      const file = await save(page);
      assert.equal(file.name, "a.bin");
      assert.ok(file.bytes.equals(content));
    });
  }
});
