import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { PLAIN } from "../../static/lib/seal.js";
import { onBothStores } from "./harness.js";
import { Lab, holds, isPatch, lose, offsetOf, open, sentTwice } from "./lab.js";

const MEBIBYTE = 1024 * 1024;

onBothStores("upload.js", (test) => {
  for (const length of [0, 1, PLAIN - 1, PLAIN, PLAIN + 1, 5 * MEBIBYTE + 3]) {
    test(`a file of ${length} bytes`, async ({ server, folder, openModern }) => {
      const content = randomBytes(length);
      await writeFile(join(folder, "a file.bin"), content);
      const lab = await Lab.at(await openModern(), server);
      await lab.choose([join(folder, "a file.bin")]);
      await lab.send();
      const share = await lab.done();
      assert.deepEqual(share.names, ["a file.bin"]);
      assert.equal(share.size, length);
      assert.deepEqual(await lab.all("shares"), [share]);
      assert.deepEqual(await lab.all("uploads"), []);
      assert.deepEqual(await lab.all("parts"), []);
      await holds(server, share, content);
    });
  }

  test("several files under their names, with a note, behind a password", async ({ server, folder, openModern }) => {
    const picture = randomBytes(2 * MEBIBYTE);
    const files = { "Grüße.txt": Buffer.from("hallo"), leer: Buffer.alloc(0), "📷.jpg": picture };
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
    const lab = await Lab.at(await openModern(), server);
    await lab.choose(Object.keys(files).map((name) => join(folder, name)));
    await lab.send({ note: "Für dich", password: "geheim", downloads: 2 });
    const share = await lab.done();
    const { manifest, files: got } = await open(server, share, "geheim");
    assert.deepEqual(manifest, {
      v: 1,
      files: [
        { name: "Grüße.txt", type: "text/plain", size: 5 },
        { name: "leer", size: 0 },
        { name: "📷.jpg", type: "image/jpeg", size: 2 * MEBIBYTE },
      ],
      note: "Für dich",
    });
    for (const { name, bytes } of got) assert.ok(bytes.equals(files[name]), name);
    const { password, downloads, text } = share;
    assert.deepEqual([password, downloads, text, share.files], [true, 2, false, 3]);
  });

  test("a text", async ({ server, openModern }) => {
    const lab = await Lab.at(await openModern(), server);
    await lab.send({ text: "Der Schlüssel liegt\nunter der Matte 🗝" });
    const share = await lab.done();
    const { manifest, files } = await open(server, share);
    assert.equal(manifest.files[0].kind, "text");
    assert.equal(files[0].bytes.toString(), "Der Schlüssel liegt\nunter der Matte 🗝");
    assert.equal(share.text, true);
  });

  test("a cut connection: the rest is sent, from the middle of a part", async (scene) => {
    const { server, folder, openModern, proxy, watch } = scene;
    watch.allow(/ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/);
    const content = randomBytes(9 * MEBIBYTE);
    await writeFile(join(folder, "a"), content);
    const between = await proxy();
    const lab = await Lab.at(await openModern(), between.address);
    await lab.choose([join(folder, "a")]);
    between.throttle(20 * MEBIBYTE, ["up"]);
    const cut = between.cutAfter(3.5 * MEBIBYTE, "up");
    await lab.send();
    await cut;
    between.throttle(Infinity);
    const share = await lab.done();
    const states = await lab.states();
    const { problem } = states.find(({ phase }) => phase === "waiting");
    assert.ok(problem.code === "unreachable" && problem.retryIn > 0, JSON.stringify(problem));
    const [, ...offsets] = between.requests.filter(isPatch).map(({ headers }) => Number(headers["upload-offset"]));
    assert.ok(offsets.some((offset) => offset % MEBIBYTE !== 0), String(offsets));
    assert.ok(sentTwice(between, share.id) <= MEBIBYTE);
    await holds(server, share, content);
  });

  test("a killed server: it goes on when that is back", async ({ folder, openModern, ownServer, watch }) => {
    watch.allow(/ERR_CONNECTION_(RESET|REFUSED)|ERR_EMPTY_RESPONSE/);
    const content = randomBytes(9 * MEBIBYTE);
    await writeFile(join(folder, "a"), content);
    const own = await ownServer();
    const lab = await Lab.at(await openModern(), own.address);
    await lab.choose([join(folder, "a")]);
    await lab.send();
    await lab.until("sending", 2 * MEBIBYTE);
    await own.end("SIGKILL");
    await lab.until("waiting");
    await own.start();
    await lab.do("wake");
    const share = await lab.done();
    await holds(own.address, share, content);
  });

  test("a page that is loaded again, and the same file chosen again", async (scene) => {
    const { server, folder, openModern, proxy } = scene;
    const content = randomBytes(9 * MEBIBYTE + 77);
    await writeFile(join(folder, "a"), content);
    const between = await proxy();
    const page = await openModern();
    const lab = await Lab.at(page, between.address);
    await lab.choose([join(folder, "a")]);
    between.throttle(6 * MEBIBYTE, ["up"]);
    await lab.send();
    await lab.until("sending", 3.4 * MEBIBYTE);
    const again = await Lab.at(page, between.address);
    between.throttle(Infinity);
    assert.equal((await again.all("uploads")).length, 1);
    await again.choose([join(folder, "a")]);
    assert.ok(await again.goOn());
    const share = await again.done();
    const creations = between.requests.filter(({ method }) => method === "POST");
    assert.equal(creations.length, 1);
    assert.ok(sentTwice(between, share.id) <= MEBIBYTE);
    assert.deepEqual(await again.all("uploads"), []);
    await holds(server, share, content);
  });

  test("an upload that the server has lost begins anew", async ({ server, folder, openModern, watch }) => {
    watch.allow(/status of 404/);
    const content = randomBytes(6 * MEBIBYTE);
    await writeFile(join(folder, "a"), content);
    const lab = await Lab.at(await openModern(), server);
    await lab.choose([join(folder, "a")]);
    await lab.send();
    await lab.until("sending");
    await lab.do("pause");
    await lab.until("paused");
    const [record] = await lab.all("uploads");
    await lose(server, record);
    await lab.do("resume");
    const share = await lab.done();
    assert.notEqual(share.id, record.id);
    assert.notEqual(share.secret, record.secret);
    await holds(server, share, content);
  });

  test("paused, nothing moves; gone on with, it comes whole", async ({ server, folder, openModern, proxy }) => {
    const content = randomBytes(5 * MEBIBYTE);
    await writeFile(join(folder, "a"), content);
    const between = await proxy();
    const lab = await Lab.at(await openModern(), between.address);
    await lab.choose([join(folder, "a")]);
    between.throttle(4 * MEBIBYTE, ["up"]);
    await lab.send();
    await lab.until("sending", 1.5 * MEBIBYTE);
    await lab.do("pause");
    await lab.until("paused");
    const [record] = await lab.all("uploads");
    between.throttle(Infinity);
    while ([...between.passages].some(({ left }) => left > 0)) await once(between, "bytes");
    const [requests, bytes] = [between.requests.length, between.bytes.up];
    assert.ok((await offsetOf(server, record)) < 5 * MEBIBYTE);
    // As long as all of it took until here.
    await lab.page.waitForTimeout(1000);
    assert.deepEqual([between.requests.length, between.bytes.up], [requests, bytes]);
    await lab.do("resume");
    const share = await lab.done();
    assert.ok(sentTwice(between, share.id) <= MEBIBYTE);
    await holds(server, share, content);
  });

  test("cancelled, nothing remains", async ({ server, folder, openModern }) => {
    await writeFile(join(folder, "a"), randomBytes(20 * MEBIBYTE));
    const lab = await Lab.at(await openModern(), server);
    await lab.choose([join(folder, "a")]);
    await lab.send();
    await lab.until("sending", MEBIBYTE);
    const [record] = await lab.all("uploads");
    await lab.do("cancel");
    assert.equal((await lab.end()).phase, "cancelled");
    for (const store of ["uploads", "parts", "shares"]) assert.deepEqual(await lab.all(store), [], store);
    assert.equal(await offsetOf(server, record), null);
  });
});
