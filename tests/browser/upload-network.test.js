import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { onStore } from "./harness.js";
import { Lab, holds, offsetOf, open, sentTwice } from "./lab.js";

const MEBIBYTE = 1024 * 1024;

onStore("embedded", "upload.js, whatever happens", (test) => {
  /** A file in a lab, behind a proxy. */
  async function chosen({ folder, openModern, proxy }, length) {
    const path = join(folder, "a file");
    const content = randomBytes(length);
    await writeFile(path, content);
    const between = await proxy();
    const page = await openModern();
    const lab = await Lab.at(page, between.address);
    await lab.choose([path]);
    return { path, content, between, page, lab };
  }

  test("a connection on which nothing moves is given up when the network has changed", async (scene) => {
    const { content, between, page, lab } = await chosen(scene, 4 * MEBIBYTE);
    between.throttle(4 * MEBIBYTE, ["up"]);
    await lab.send();
    await lab.until("sending", MEBIBYTE);
    between.stall();
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await lab.until("waiting");
    between.throttle(Infinity);
    between.unstall();
    await lab.do("wake");
    const share = await lab.done();
    assert.ok(sentTwice(between, share.id) <= MEBIBYTE);
    await holds(scene.server, share, content);
  });

  test("the last answer is lost: the share is the one that the server has", async (scene) => {
    scene.watch.allow(/ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/);
    const { content, between, lab } = await chosen(scene, 2 * MEBIBYTE);
    const last = ({ method, headers, length }) =>
      method === "PATCH" && Number(headers["upload-offset"]) + length > 2 * MEBIBYTE;
    const end = between.tamper(last, (answer) => {
      end();
      between.cut();
      return answer;
    });
    await lab.send();
    const share = await lab.done();
    assert.equal(between.requests.filter(({ method }) => method === "POST").length, 1);
    // The browser itself may have repeated the request.
    assert.ok(sentTwice(between, share.id) < MEBIBYTE);
    await holds(scene.server, share, content);
  });

  test("an answer of somebody else's is none: a gate's 404, a portal's page", async (scene) => {
    scene.watch.allow(/status of 404/);
    const { content, between, lab } = await chosen(scene, 3 * MEBIBYTE);
    let strange = 0;
    const headers = { "content-type": "text/plain", "content-length": "15" };
    between.tamper(
      ({ method }) => method === "PATCH" || method === "HEAD",
      (answer) => {
        strange += 1;
        if (strange === 1) return { status: 404, headers, body: Buffer.from("default backend") };
        if (strange === 2) return { status: 200, headers, body: Buffer.alloc(0) };
        return answer;
      },
    );
    await lab.send();
    const share = await lab.done();
    assert.equal(between.requests.filter(({ method }) => method === "POST").length, 1);
    const codes = (await lab.states()).filter(({ phase }) => phase === "waiting").map(({ problem }) => problem.code);
    assert.deepEqual([...new Set(codes)], ["unreachable"]);
    await holds(scene.server, share, content);
  });

  test("a proxy that takes short requests only gets those", async (scene) => {
    scene.watch.allow(/status of 413/);
    const { content, between, page, lab } = await chosen(scene, 3 * MEBIBYTE);
    const most = 600_000;
    const lengths = [];
    await page.context().route("**/api/v1/uploads/**", async (route) => {
      const { length = 0 } = route.request().postDataBuffer() ?? {};
      if (length > most) return route.fulfill({ status: 413, contentType: "text/plain", body: "too large" });
      if (length > 0) lengths.push(length);
      return route.continue();
    });
    await lab.send();
    const share = await lab.done();
    assert.ok(lengths.length > 5, String(lengths));
    assert.equal(between.requests.filter(({ method }) => method === "POST").length, 1);
    await holds(scene.server, share, content);
  });

  test("a server that is not there yet is waited for", async (scene) => {
    scene.watch.allow(/ERR_CONNECTION_(REFUSED|RESET)/);
    const { content, between, lab } = await chosen(scene, 1000);
    await between.refuse();
    await lab.send();
    const { problem } = await lab.until("waiting");
    assert.equal(problem.code, "unreachable");
    await between.accept();
    await lab.do("wake");
    await holds(scene.server, await lab.done(), content);
  });

  test("cancelled while it waits, it is over at once", async (scene) => {
    scene.watch.allow(/ERR_CONNECTION_(REFUSED|RESET)/);
    const { between, lab } = await chosen(scene, 4 * MEBIBYTE);
    between.throttle(4 * MEBIBYTE, ["up"]);
    await lab.send();
    await lab.until("sending", MEBIBYTE);
    await between.refuse();
    await lab.until("waiting");
    await lab.do("cancel");
    assert.equal((await lab.end()).phase, "cancelled");
    assert.deepEqual(await lab.all("uploads"), []);
  });

  test("cancelled when it is a share already, that is withdrawn", async (scene) => {
    scene.watch.allow(/status of 409/);
    const { server } = scene;
    const { between, lab } = await chosen(scene, 1000);
    const patch = between.next(({ method }) => method === "PATCH");
    await lab.send();
    await patch;
    between.throttle(1, ["down"]);
    const [record] = await lab.all("uploads");
    while ((await offsetOf(server, record)) < record.length);
    const given = between.next(({ method }) => method === "DELETE");
    const cancelled = lab.do("cancel");
    await given;
    between.throttle(Infinity);
    await cancelled;
    assert.equal((await lab.end()).phase, "cancelled");
    const headers = { authorization: `Bearer ${record.owner}` };
    const receipt = await (await fetch(`${server}/api/v1/receipts/${record.id}`, { headers })).json();
    assert.equal(receipt.state, "revoked");
    assert.deepEqual(await lab.all("shares"), []);
  });

  test("what the server refuses for good fails, and says why", async ({ folder, openModern, ownServer, watch }) => {
    watch.allow(/status of 413/);
    const own = await ownServer(["--max-size", "1000"]);
    await writeFile(join(folder, "a"), randomBytes(2000));
    const lab = await Lab.at(await openModern(), own.address);
    await lab.choose([join(folder, "a")]);
    await lab.send();
    const { phase, problem } = await lab.end();
    assert.deepEqual([phase, problem], ["failed", { code: "too_large" }]);
    assert.deepEqual(await lab.all("uploads"), []);
  });

  for (const [what, change] of /** @type {[string, (path: string) => Promise<void>][]} */ ([
    ["shorter", (path) => truncate(path, 6 * MEBIBYTE)],
    ["longer", (path) => appendFile(path, "more")],
    ["gone", (path) => rm(path)],
  ])) {
    test(`a file that is ${what} before it is read to its end ends the upload`, async (scene) => {
      const { path, between, lab } = await chosen(scene, 12 * MEBIBYTE);
      between.throttle(8 * MEBIBYTE, ["up"]);
      await lab.send();
      await lab.until("sending", MEBIBYTE);
      const [record] = await lab.all("uploads");
      await change(path);
      between.throttle(Infinity);
      const { phase, problem } = await lab.end();
      assert.deepEqual([phase, problem], ["failed", { code: "changed", name: "a file" }]);
      await lab.over();
      assert.equal(await offsetOf(scene.server, record), null);
      for (const store of ["uploads", "parts", "shares"]) assert.deepEqual(await lab.all(store), [], store);
    });
  }

  test("a file that is gone before anything is sent", async (scene) => {
    const { path, between, lab } = await chosen(scene, 1000);
    // A page has shown its size by then.
    await lab.page.evaluate(() => /** @type {any} */ (window).lab.chosen().map(({ file }) => file.size));
    await rm(path);
    await lab.send();
    const { phase, problem } = await lab.end();
    assert.deepEqual([phase, problem], ["failed", { code: "unreadable", name: "a file" }]);
    assert.deepEqual(between.requests.filter(({ method }) => method === "POST"), []);
  });

  test("one upload, two tabs: only one runs it", async (scene) => {
    const { content, between, page, lab } = await chosen(scene, 8 * MEBIBYTE);
    between.throttle(2 * MEBIBYTE, ["up"]);
    await lab.send();
    await lab.until("sending", MEBIBYTE);
    between.throttle(MEBIBYTE / 16, ["up"]);
    const other = await Lab.at(await page.context().newPage(), between.address);
    assert.deepEqual(await other.page.evaluate(() => /** @type {any} */ (window).lab.upload.unfinished()), []);
    await other.page.evaluate(async () => {
      const { lab } = /** @type {any} */ (window);
      const [record] = await lab.remember.all("uploads");
      lab.upload.goOn(record, [], lab.tell);
    });
    const { phase, problem } = await other.end();
    assert.deepEqual([phase, problem], ["failed", { code: "elsewhere" }]);
    assert.equal((await lab.all("uploads")).length, 1);
    between.throttle(Infinity);
    const share = await lab.done();
    assert.equal(sentTwice(between, share.id), 0);
    await holds(scene.server, share, content);
  });

  test("a text goes on after a reload, and nothing has to be chosen", async ({ server, openModern, proxy }) => {
    const between = await proxy();
    const page = await openModern();
    const lab = await Lab.at(page, between.address);
    between.throttle(2 * MEBIBYTE, ["up"]);
    const text = "Wörter ".repeat(800_000);
    await lab.send({ text });
    await lab.until("sending", 2 * MEBIBYTE);
    const again = await Lab.at(page, between.address);
    between.throttle(Infinity);
    const id = await page.evaluate(async () => {
      const { lab } = /** @type {any} */ (window);
      const [record] = await lab.upload.unfinished();
      lab.upload.goOn(record, null, lab.tell);
      return record.id;
    });
    const share = await again.done();
    assert.equal(share.id, id);
    const { manifest, files } = await open(server, share);
    assert.equal(manifest.files[0].kind, "text");
    assert.ok(files[0].bytes.equals(Buffer.from(text)));
  });

  test("thousands of small files, in their order", async ({ server, openModern }) => {
    const lab = await Lab.at(await openModern(), server);
    await lab.page.evaluate(() => {
      const { lab } = /** @type {any} */ (window);
      const bytes = (index) => new Uint8Array((index * 7919) % 3000).fill(index);
      lab.chosen = () =>
        Array.from({ length: 3000 }, (_, index) => {
          return { file: new File([bytes(index)], "x"), name: `folder/${index}`, type: "", fromDisk: false };
        });
    });
    await lab.page.evaluate(() => {
      const { lab } = /** @type {any} */ (window);
      lab.running = lab.upload.send({ sources: lab.chosen(), expiresIn: 3600, downloads: 1, part: 1 << 20 }, lab.tell);
    });
    const { files } = await open(server, await lab.done());
    assert.equal(files.length, 3000);
    files.forEach(({ name, bytes }, index) => {
      assert.equal(name, `folder/${index}`);
      assert.ok(bytes.equals(Buffer.alloc((index * 7919) % 3000, index)), name);
    });
  });

  test("more names than a manifest holds", async ({ openModern, proxy }) => {
    const between = await proxy();
    const lab = await Lab.at(await openModern(), between.address);
    await lab.page.evaluate(() => {
      const { lab } = /** @type {any} */ (window);
      const named = (name) => ({ file: new File([], "x"), name, type: "", fromDisk: true });
      const sources = Array.from({ length: 4500 }, (_, index) => named(`${index}`.padStart(250, "x")));
      lab.running = lab.upload.send({ sources, expiresIn: 3600, downloads: 1, part: 1 << 20 }, lab.tell);
    });
    const { phase, problem } = await lab.end();
    assert.deepEqual([phase, problem], ["failed", { code: "too_many_names" }]);
    assert.deepEqual(between.requests.filter(({ method }) => method === "POST"), []);
  });

  test("files chosen again are brought into their order, by folder, size and time", async ({ server, openModern }) => {
    const lab = await Lab.at(await openModern(), server);
    const found = await lab.page.evaluate(() => {
      const { matches } = /** @type {any} */ (window).lab.upload;
      const source = (name, text, lastModified = 1) => {
        return { file: new File([text], "x", { lastModified }), name, type: "", fromDisk: true };
      };
      const files = [source("a/x", "one"), source("b/x", "two"), source("a/x", "four")];
      const kept = new Blob(["kept"]);
      const named = files.map(({ name, file }) => ({ name, size: file.size }));
      const record = {
        manifest: { v: 1, files: [...named, { name: "p", size: 4 }] },
        kept: [null, null, null, kept],
        stamps: [...files.map(({ file }) => ({ size: file.size, lastModified: 1 })), { size: 4, lastModified: 0 }],
      };
      const [one, two, four] = files;
      const all = [...files.map(({ file }) => file), kept];
      const order = (sources) => matches(record, sources)?.map(({ file }) => all.indexOf(file));
      return [
        order([four, two, one]),
        order([source("c", "more"), one, two, four]),
        order([one, two]),
        order([one, source("b/x", "twoo"), four]),
        order([one, source("b/x", "two", 2), four]),
        order([one, source("x", "two"), four]),
      ];
    });
    assert.deepEqual(found, [[0, 1, 2, 3], [0, 1, 2, 3], undefined, undefined, undefined, undefined]);
  });
});
