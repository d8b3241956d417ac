import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Parts } from "../../static/lib/parts.js";
import { Files } from "../../static/lib/reading.js";
import { HEADER, Message, RECORD, sealManifest } from "../../static/lib/seal.js";
import { onStore } from "./harness.js";
import { Lab, append, holds, isPatch, offsetOf } from "./lab.js";

const MEBIBYTE = 1024 * 1024;

// GCM gives away two texts that were sealed under one key, salt and record.
onStore("embedded", "What upload.js seals again", (test) => {
  /** An upload that a page left in the middle, and the page that finds it. */
  async function left({ folder, openModern, proxy }, options = {}) {
    const path = join(folder, "a");
    const content = randomBytes(9 * MEBIBYTE);
    await writeFile(path, content);
    const mtime = new Date(1.7e12);
    await utimes(path, mtime, mtime);
    const between = await proxy();
    const page = await openModern();
    const before = await Lab.at(page, between.address);
    await before.choose([path]);
    between.throttle(6 * MEBIBYTE, ["up"]);
    await before.send(options);
    await before.until("sending", 3.4 * MEBIBYTE);
    const lab = await Lab.at(page, between.address);
    between.throttle(Infinity);
    const [record] = await lab.all("uploads");
    return { path, content, mtime, between, lab, record, sent: between.requests.length };
  }

  /** Requests that brought more bytes under the old keys. */
  const more = ({ between, record, sent }) =>
    between.requests.slice(sent).filter((request) => isPatch(request) && request.target === record.location);

  test("a part is noted before its first byte leaves, by what leaves", async (scene) => {
    const { folder, openModern, proxy, server } = scene;
    const content = randomBytes(3 * MEBIBYTE);
    await writeFile(join(folder, "a"), content);
    const between = await proxy({ record: true });
    const lab = await Lab.at(await openModern(), between.address);
    await lab.choose([join(folder, "a")]);
    const looks = [];
    between.on("request", (request) => {
      if (!isPatch(request)) return;
      between.stall();
      const look = lab.all("parts").finally(() => between.unstall());
      looks.push(look.then(([known]) => ({ request, notes: known?.notes ?? [] })));
    });
    await lab.send();
    await lab.until("sending");
    const [{ manifestLength: manifest }] = await lab.all("uploads");
    const share = await lab.done();
    const seen = await Promise.all(looks);
    assert.equal(seen.length, 4);
    for (const { request, notes } of seen) {
      const offset = Number(request.headers["upload-offset"]);
      const note = notes.find((/** @type {any} */ note) => note.offset === offset);
      assert.ok(note, `nothing is noted of ${offset}`);
      const left = digestOf(Buffer.concat(request.body), offset, manifest);
      assert.deepEqual(Buffer.from(Object.values(note.digest)), left);
    }
    await holds(server, share, content);
  });

  test("the same file goes on under the same keys", async (scene) => {
    const { path, content, lab, record } = await left(scene);
    await lab.choose([path]);
    assert.ok(await lab.goOn());
    const share = await lab.done();
    assert.deepEqual([share.id, share.secret], [record.id, record.secret]);
    await holds(scene.server, share, content);
  });

  test("another content under the same name, size and time: a new share under a new secret", async (scene) => {
    const upload = await left(scene);
    const { path, mtime, lab, record } = upload;
    const other = randomBytes(9 * MEBIBYTE);
    await writeFile(path, other);
    await utimes(path, mtime, mtime);
    await lab.choose([path]);
    assert.ok(await lab.goOn());
    const share = await lab.done();
    assert.notEqual(share.id, record.id);
    assert.notEqual(share.secret, record.secret);
    assert.deepEqual(more(upload), []);
    assert.equal(await offsetOf(scene.server, record), null);
    await holds(scene.server, share, other);
  });

  test("a file with another time is not the same", async (scene) => {
    const upload = await left(scene);
    const { path, content, lab, record } = upload;
    await utimes(path, new Date(1e12), new Date(1e12));
    await lab.choose([path]);
    assert.equal(await lab.goOn(), false);
    await lab.goOnWithChosen();
    const share = await lab.done();
    assert.notEqual(share.id, record.id);
    assert.deepEqual(more(upload), []);
    await holds(scene.server, share, content);
  });

  test("behind a password that was not kept, a changed file ends the upload", async (scene) => {
    const upload = await left(scene, { password: "geheim" });
    const { path, mtime, lab, record } = upload;
    await writeFile(path, randomBytes(9 * MEBIBYTE));
    await utimes(path, mtime, mtime);
    await lab.choose([path]);
    assert.ok(await lab.goOn());
    const state = await lab.end();
    assert.deepEqual([state.phase, state.problem], ["failed", { code: "needs_password" }]);
    assert.deepEqual(more(upload), []);
    assert.ok(!JSON.stringify(record).includes("geheim"));
    await lab.over();
    assert.equal(await offsetOf(scene.server, record), null);
    assert.deepEqual(await lab.all("uploads"), []);
  });

  test("without its notes an upload does not go on", async (scene) => {
    const upload = await left(scene);
    const { path, content, lab, record } = upload;
    await lab.page.evaluate((id) => /** @type {any} */ (window).lab.remember.forget("parts", id), record.id);
    await lab.choose([path]);
    assert.ok(await lab.goOn());
    const share = await lab.done();
    assert.notEqual(share.secret, record.secret);
    assert.deepEqual(more(upload), []);
    await holds(scene.server, share, content);
  });

  for (const changed of [false, true]) {
    const outcome = changed ? "another share" : "it goes on";
    test(`at the end of a part, where only that is noted, it is compared: ${outcome}`, async (scene) => {
      const upload = await left(scene);
      const { path, content, lab, record } = upload;
      const end = await toTheEndOfItsPart(scene.server, upload);
      await lab.page.evaluate(
        async ([id, before, changed]) => {
          const { remember } = /** @type {any} */ (window).lab;
          const { notes } = await remember.get("parts", id);
          const note = notes.find((/** @type {any} */ { offset }) => offset === before);
          if (changed) note.digest[0] ^= 1;
          await remember.put("parts", { id, notes: [note] });
        },
        /** @type {const} */ ([record.id, end - record.part, changed]),
      );
      await lab.choose([path]);
      assert.ok(await lab.goOn());
      const share = await lab.done();
      assert.equal(share.id !== record.id, changed);
      if (changed) assert.deepEqual(more(upload), []);
      else assert.equal(Number(more(upload)[0].headers["upload-offset"]), end);
      await holds(scene.server, share, content);
    });
  }

  /** SHA-256 of the SHA-256s of manifest, header and records, as far as they lie in a part. */
  function digestOf(part, offset, manifest) {
    const ends = [manifest, manifest + HEADER];
    while (ends.at(-1) < offset + part.length) ends.push(ends.at(-1) + RECORD);
    const all = createHash("sha256");
    let from = 0;
    for (const end of ends.filter((end) => end > offset).map((end) => end - offset)) {
      all.update(createHash("sha256").update(part.subarray(from, end)).digest());
      from = end;
    }
    return all.digest();
  }

  /** Sends the rest of the part that an upload was left in; gives where that ends. */
  async function toTheEndOfItsPart(server, { record, content, lab }) {
    const keys = await lab.page.evaluate(async () => {
      const [{ keys, manifestSalt, contentSalt }] = await /** @type {any} */ (window).lab.remember.all("uploads");
      return [keys.manifest, manifestSalt, keys.content, contentSalt].map((bytes) => Array.from(bytes));
    });
    const [manifestKey, manifestSalt, contentKey, contentSalt] = keys.map((list) => Uint8Array.from(list));
    const manifest = await sealManifest(manifestKey, record.manifest, manifestSalt);
    const message = await Message.create(contentKey, contentSalt);
    const files = new Files([{ file: new Blob([content]), size: content.length }]);
    const parts = new Parts(files, manifest, message, record.part);
    const offset = await offsetOf(server, record);
    // Where the server has whole parts only, it is at the end of one already.
    const index = Math.ceil(offset / record.part) - 1;
    const rest = (await parts.seal(index)).body.slice(offset - index * record.part);
    if (rest.size > 0) await append(server, record, offset, rest);
    return (index + 1) * record.part;
  }
});
