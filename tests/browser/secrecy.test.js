import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { told } from "./canary.js";
import { arrive, give, look, passwordOf, prepare, REFUSED, stamped } from "./flows.js";
import { onBothStores } from "./harness.js";

const NAME = "Gehälter Küche 🎁.pdf";
const NOTE = "bitte drucken und abheften 📎";
const PASSWORD = "Mähne 7 im Wind";
const TEXT = "Der Schlüssel liegt unter der Matte 🗝";

onBothStores("a whole session", (test) => {
  test("tells the server neither secret nor password, name, note or contents", async (scene) => {
    const { ownServer, openModern, proxy, folder, watch } = scene;
    watch.allow(REFUSED);
    const server = await ownServer();
    const between = await proxy({ before: server.address, record: true });
    const content = randomBytes(2_000_000);
    content.set(Buffer.from(TEXT), 1_000_000);
    const path = join(folder, NAME);
    await writeFile(path, content);
    const titles = [];

    const sender = await openModern({ permissions: ["clipboard-read", "clipboard-write"] });
    const given = await give(sender, between.address, { files: path, note: NOTE, password: PASSWORD, downloads: 2 });
    await sender.getByRole("button", { name: "Copy" }).first().click();
    titles.push(await sender.title());
    const text = await give(await openModern(), between.address, { text: TEXT });
    await stamped(sender, given.receipt, /^Waiting$/i);
    titles.push(await sender.title());

    const recipient = await openModern();
    await recipient.goto(given.link);
    await passwordOf(recipient).fill(`${PASSWORD}?`);
    await recipient.getByRole("button", { name: "Open", exact: true }).click();
    await recipient.locator("#password-error", { hasText: "That password is wrong." }).waitFor();
    const button = await look(recipient, given.link, { password: PASSWORD });
    titles.push(await recipient.title());
    await arrive(recipient, () => button.click());
    titles.push(await recipient.title());
    await recipient.reload();
    await recipient.getByRole("heading", { name: "Arrived" }).waitFor();
    // From here a click leads on to another page: its request has no Referer that tells.
    await recipient.goto(text.link);
    await recipient.getByRole("button", { name: "Reveal the text" }).click();
    await recipient.getByLabel("The text").waitFor();
    await recipient.getByRole("link", { name: "OneTimeShare" }).click();
    await recipient.getByRole("heading", { name: "Send a file once." }).waitFor();
    await recipient.goBack();

    await sender.goto(`${between.address}/`);
    await sender.getByRole("heading", { name: "My shares" }).waitFor();
    await sender.getByRole("button", { name: "Forget", exact: true }).click();
    await sender.getByRole("button", { name: "Forget it" }).click();

    const secrets = [given.link, text.link].map((link) => link.split("#")[1]);
    const values = {
      secret: Buffer.from(secrets[0], "base64url"),
      "the text's secret": Buffer.from(secrets[1], "base64url"),
      password: PASSWORD,
      "a part of the password": "Mähne 7 ",
      name: NAME,
      "a part of the name": "Gehälter",
      note: NOTE,
      "a part of the note": "abheften",
      text: TEXT,
      "a part of the text": "der Matte",
      content: content.subarray(0, 32),
      "content in the middle": content.subarray(600_000, 600_032),
      "content at the end": content.subarray(-32),
    };
    const said = Buffer.concat(between.said.flat());
    assert.ok(said.includes("POST /api/v1/shares/") && said.includes("PATCH /api/v1/uploads/"), "the session was not recorded");
    assert.deepEqual(told(said, values), []);
    assert.deepEqual(told(Buffer.from(server.log), values), [], "the log tells");
    // A title is in histories and in other people's screenshots.
    assert.deepEqual(told(Buffer.from(titles.join("\n")), values), [], "a title tells");
    for (const { headers, target } of between.requests) assert.equal(headers.referer, undefined, target);
  });

  test("keeps what a share menu hands over from the server", async ({ openModern, proxy }) => {
    const between = await proxy({ record: true });
    const page = await openModern();
    await page.goto(`${between.address}/`);
    // Not by waitForFunction: to it a promise is true.
    await page.evaluate(async () => {
      const isActive = async () => (await navigator.serviceWorker.getRegistration("/share-target"))?.active?.state === "activated";
      while (!(await isActive())) await new Promise(requestAnimationFrame);
    });
    // What a share menu does is what the manifest tells it to.
    await page.evaluate(
      async ({ name, text }) => {
        const manifest = /** @type {HTMLLinkElement} */ (document.querySelector('link[rel="manifest"]')).href;
        const { action, method, enctype, params } = (await (await fetch(manifest)).json()).share_target;
        const form = document.createElement("form");
        Object.assign(form, { method, action, enctype });
        const files = document.createElement("input");
        Object.assign(files, { type: "file", name: params.files[0].name });
        const chosen = new DataTransfer();
        chosen.items.add(new File(["the shared file's contents"], name, { type: "text/plain" }));
        files.files = chosen.files;
        const words = document.createElement("input");
        Object.assign(words, { name: params.text, value: text });
        form.append(files, words);
        document.body.append(form);
        form.submit();
      },
      { name: NAME, text: TEXT },
    );
    const list = page.getByRole("list", { name: "Chosen so far" });
    await list.getByText(NAME).waitFor();
    assert.equal(await page.getByLabel("Text", { exact: true }).inputValue(), TEXT);
    const said = Buffer.concat(between.said.flat());
    assert.deepEqual(told(said, { name: NAME, text: TEXT, contents: "the shared file's contents" }), []);
    assert.deepEqual(between.requests.filter(({ target }) => target.startsWith("/share-target")), []);
  });

  test("forgets the password, and remembers the choices", async ({ openModern, server }) => {
    const page = await openModern();
    await give(page, server, { text: "x", password: PASSWORD, downloads: 3 });
    await prepare(page, server, {});
    assert.equal(await passwordOf(page).inputValue(), "");
    assert.equal(await page.getByLabel("Downloads").inputValue(), "3");
    const kept = await page.evaluate(async () => {
      const everything = [JSON.stringify(localStorage), JSON.stringify(sessionStorage)];
      for (const { name } of await indexedDB.databases()) {
        const database = await new Promise((resolve) => {
          const opening = indexedDB.open(String(name));
          opening.onsuccess = () => resolve(opening.result);
        });
        for (const store of database.objectStoreNames) {
          const all = await new Promise((resolve) => {
            const asking = database.transaction(store).objectStore(store).getAll();
            asking.onsuccess = () => resolve(asking.result);
          });
          everything.push(JSON.stringify(all));
        }
        database.close();
      }
      return everything.join("\n");
    });
    assert.ok(kept.length > 50, kept);
    assert.deepEqual(told(Buffer.from(kept), { password: PASSWORD }), []);
  });
});
