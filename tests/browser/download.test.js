import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { onBothStores, onStore } from "./harness.js";
import { sealed } from "./sealed.js";
import { HEADER, PLAIN, RECORD, sealMessage } from "../../static/lib/seal.js";
import { crc32 } from "../../static/lib/zip.js";

/** @typedef {import("playwright-core").Page} Page */

/**
 * Opens a page of the server that has no script of its own, and in it the modules as the receive page uses them.
 *
 * @param {Page} page
 * @param {string} server
 * @param {import("./sealed.js").SealedShare} share
 */
async function visit(page, server, share) {
  await page.goto(`${server}/status`);
  await page.evaluate(async (share) => {
    const style = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=stylesheet]"));
    const modules = new URL(".", style.href).pathname + "lib/";
    const [api, seal, save, download] = await Promise.all(
      ["api", "seal", "save", "download"].map((name) => import(`${modules}${name}.js`)),
    );
    const keys = await seal.deriveKeys(seal.decode(share.secret), share.password);
    /** @type {any[]} */
    const states = [];
    const t = { api, seal, save, download, modules, states, keys, share };
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

/** Fulfilled once so much is noted. */
const progressed = (page, bytes) =>
  page.evaluate(async (bytes) => {
    const { download, share } = globalThis.t;
    while (!((await download.remembered(share.id))?.progress?.record * 262_127 >= bytes)) await new Promise(requestAnimationFrame);
  }, bytes);

/** Names of the files that are staged in this browser. */
const staged = (page) =>
  page.evaluate(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("staged", { create: true });
    const names = [];
    for await (const name of folder.keys()) names.push(name);
    return names;
  });

const save = (page) => saved(page, () => globalThis.t.now.save());

const one = (content, name = "a.bin") => [{ name, content }];
const MIB = 2 ** 20;

/** Requests for the content of claims. @param {{ method: string, target: string }} request */
const isContent = ({ method, target }) => method === "GET" && target.includes("/claims/");
const isFinish = ({ method, target }) => method === "DELETE" && target.includes("/claims/");
const isClaim = ({ method, target }) => method === "POST" && target.endsWith("/claims");
/** First bytes of the ranges that were asked for. */
const starts = ({ requests }) => requests.filter(isContent).map(({ headers }) => Number(/^bytes=(\d+)-/.exec(headers.range)[1]));

/** Of the sealed content, the first byte of an answer. */
const firstOf = ({ headers }) => Number(/bytes (\d+)/.exec(headers["content-range"])[1]);

/** What the receipt says of a share. */
const receipt = async (server, { id, owner }) =>
  (await fetch(`${server}/api/v1/receipts/${id}`, { headers: { authorization: `Bearer ${owner}` } })).json();

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
      assert.equal((await receipt(server, share)).state, "finished");
      const file = await save(page);
      assert.equal(file.name, "a.bin");
      assert.ok(file.bytes.equals(content));
    });
  }

  test("goes on where it was when the connection is cut, again and again", async ({ server, openModern, proxy }) => {
    const content = randomBytes(12 * MIB);
    const share = await sealed(server, one(content));
    const bad = await proxy();
    const page = await openModern();
    await visit(page, bad.address, share);
    const received = bad.bytes.down;
    for (const after of [100, 3 * MIB, 4 * MIB, MIB, 2 * MIB]) {
      const cut = bad.cutAfter(after, "down");
      if (after === 100) await page.evaluate(() => globalThis.t.begin());
      await cut;
    }
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
    // What was on its way when a connection broke is all that comes twice.
    assert.ok(bad.bytes.down - received < 1.5 * share.size, `${bad.bytes.down - received} of ${share.size}`);
    const offsets = starts(bad);
    assert.ok(offsets.length >= 2 && offsets.every((at, i) => i === 0 || at >= offsets[i - 1]), offsets.join());
  });

  test("goes on after a kill of the server", async ({ openModern, ownServer, proxy }) => {
    const server = await ownServer();
    const content = randomBytes(12 * MIB);
    const share = await sealed(server.address, one(content));
    const slow = await proxy({ before: server.address });
    const page = await openModern();
    await visit(page, slow.address, share);
    slow.throttle(6 * MIB, ["down"]);
    await page.evaluate(() => globalThis.t.begin());
    await slow.passed("down", slow.bytes.down + 4 * MIB);
    await server.end("SIGKILL");
    const waiting = await phase(page, "waiting");
    assert.ok(["unreachable", "offline"].includes(waiting.problem.code) && waiting.problem.retryIn >= 1, JSON.stringify(waiting));
    await server.start();
    slow.throttle(Infinity);
    await page.evaluate(() => globalThis.t.now.wake());
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
    const offsets = starts(slow);
    assert.ok(offsets.at(-1) > 3 * MIB, offsets.join());
  });

  test("goes on where it was after a reload of the page", async ({ server, openModern, proxy }) => {
    const content = randomBytes(40 * MIB);
    const share = await sealed(server, one(content));
    const slow = await proxy();
    const page = await openModern();
    await visit(page, slow.address, share);
    slow.throttle(30 * MIB, ["down"]);
    await page.evaluate(() => globalThis.t.begin());
    await progressed(page, 16 * MIB);
    await visit(page, slow.address, share);
    slow.throttle(Infinity);
    await page.evaluate(() => globalThis.t.begin());
    const first = await phase(page, "receiving");
    assert.ok(first.received >= 16 * MIB, JSON.stringify(first));
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
    // The first page asked for pieces that begin anywhere, the second began with a record.
    const offsets = starts(slow);
    const again = offsets.findIndex((at) => at > 0 && (at - HEADER) % RECORD === 0);
    assert.ok(again > 0 && offsets.slice(again).every((at) => at >= 16 * MIB), offsets.join());
    assert.deepEqual((await receipt(server, share)).claims.length, 1);
  });

  test("goes on after a reload where the server's clock is days behind the browser's", async ({ server, openModern, proxy }) => {
    const share = await sealed(server, one(randomBytes(40 * MIB)));
    const slow = await proxy();
    const earlier = (moment) => new Date(Date.parse(moment) - 3 * 86_400_000);
    slow.tamper(isClaim, ({ status, headers, body }) => {
      const grant = JSON.parse(body.toString());
      grant.lease_expires_at = earlier(grant.lease_expires_at).toISOString();
      const date = earlier(headers.date).toUTCString();
      return { status, headers: { ...headers, date }, body: Buffer.from(JSON.stringify(grant)) };
    });
    const page = await openModern();
    await visit(page, slow.address, share);
    slow.throttle(30 * MIB, ["down"]);
    await page.evaluate(() => globalThis.t.begin());
    await phase(page, "receiving");
    const before = await page.evaluate(() => globalThis.t.download.remembered(globalThis.t.share.id));
    await visit(page, slow.address, share);
    await page.evaluate(() => globalThis.t.download.tidy());
    const after = await page.evaluate(() => globalThis.t.download.remembered(globalThis.t.share.id));
    assert.equal(after?.claim, before.claim);
    // As the server grants it: 15 minutes.
    assert.ok(Math.abs(after.lease - 15 * 60_000) < 10_000, String(after.lease));
    slow.throttle(Infinity);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
  });

  test("claims with the same token until it is answered", async ({ server, openModern, proxy }) => {
    const share = await sealed(server, one(Buffer.from("x")));
    const bad = await proxy({ record: true });
    const page = await openModern();
    await visit(page, bad.address, share);
    let answers = 0;
    const honest = bad.tamper(isClaim, (answer) => {
      answers += 1;
      // Granted, and nobody hears of it.
      return answers === 1 ? { status: 502, headers: {}, body: Buffer.from("<h1>Bad gateway</h1>") } : answer;
    });
    await page.evaluate(() => globalThis.t.begin());
    await phase(page, "waiting");
    // A reload forgets nothing either.
    await visit(page, bad.address, share);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
    honest();
    const claims = bad.requests.filter(isClaim).map(({ body }) => JSON.parse(Buffer.concat(body).toString()).claim);
    assert.ok(claims.length >= 2 && claims.every((claim) => claim === claims[0]), claims.join());
    assert.equal((await receipt(server, share)).claims.length, 1);
  });

  test("that nobody may have any more says so, and leaves nothing behind", async ({ server, openModern }) => {
    const share = await sealed(server, one(Buffer.from("x")));
    const [first, second] = [await openModern(), await openModern()];
    await visit(first, server, share);
    await visit(second, server, share);
    await second.evaluate(async () => {
      const { api, save, seal, share, keys } = globalThis.t;
      const { size, manifest } = await api.peek(share.id, seal.encode(keys.proof));
      const open = await seal.openManifest(keys.manifest, seal.decode(manifest), seal.plainLength(size));
      globalThis.late = { size, manifest: open, how: await save.plan(open, size, share.id) };
    });
    await first.evaluate(() => globalThis.t.begin());
    await finished(first);
    await second.evaluate(async () => {
      const { download, share, keys, states } = globalThis.t;
      await download.receive({ ...globalThis.late, id: share.id, secret: share.secret, keys }, (state) => states.push(state));
    });
    const { problem } = await phase(second, "failed");
    assert.equal(problem.code, "gone");
    assert.equal(problem.reason, "finished");
    assert.ok(Date.parse(problem.at) > 0);
    assert.equal(await second.evaluate(() => globalThis.t.download.remembered(globalThis.t.share.id)), null);
    assert.deepEqual(await staged(second), []);
  });
});

onStore("embedded", "a stream that is not what was sealed", (test) => {
  /** Begins a download of three records and a bit, whose answers are changed. */
  const tampered = async ({ server, openModern, proxy, watch }, change, options) => {
    const content = randomBytes(3 * PLAIN + 1000);
    const share = await sealed(server, one(content), options);
    const bad = await proxy();
    const page = await openModern();
    await visit(page, bad.address, share);
    const honest = bad.tamper(isContent, change);
    await page.evaluate(() => globalThis.t.begin());
    return { content, share, bad, page, honest };
  };
  const claimIsKept = async (server, share) => assert.equal((await receipt(server, share)).claims[0].state, "claimed");
  const goesOn = async ({ page, honest, content }) => {
    honest();
    const from = await page.evaluate(() => globalThis.t.states.length);
    // A button may be pressed twice.
    await page.evaluate(() => Promise.all([globalThis.t.now.retry(), globalThis.t.now.retry()]));
    const state = await phase(page, ["finished", "failed"], from);
    assert.equal(state.phase, "finished", JSON.stringify(state));
    assert.ok((await save(page)).bytes.equals(content));
  };

  test("because a byte flipped once: the record is fetched again", async (scene) => {
    let flips = 0;
    const { page, content, bad } = await tampered(scene, (answer) => {
      if (flips++ === 0) answer.body[HEADER + RECORD + 5] ^= 1;
      return answer;
    });
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
    assert.deepEqual(starts(bad), [0, HEADER + RECORD]);
  });

  test("because a byte is flipped each time: it says so, keeps the claim, and goes on from there", async (scene) => {
    const { page, share, bad, ...rest } = await tampered(scene, (answer) => {
      answer.body[HEADER + 2 * RECORD + 7 - firstOf(answer)] ^= 128;
      return answer;
    });
    const { problem, received } = await phase(page, ["failed", "finished"]);
    assert.equal(problem?.code, "corrupt");
    assert.equal(received, 2 * PLAIN);
    await claimIsKept(scene.server, share);
    await goesOn({ page, ...rest });
    assert.deepEqual(starts(bad), [0, HEADER + 2 * RECORD, HEADER + 2 * RECORD]);
  });

  test("and goes on elsewhere: somebody else's word that it is gone is not believed", async (scene) => {
    const { page, share, bad, ...rest } = await tampered(scene, () => {
      return { status: 403, headers: { "content-type": "application/json" }, body: Buffer.from('{"code":"Forbidden"}') };
    });
    scene.watch.allow(/status of 403/);
    assert.equal((await phase(page, ["failed", "waiting", "finished"])).phase, "waiting");
    await claimIsKept(scene.server, share);
    rest.honest();
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await finished(page);
    assert.ok((await save(page)).bytes.equals(rest.content));
  });

  test("because its sum is not its manifest's: however often it is tried, it is not called whole", async ({ server, openModern }) => {
    const share = await sealed(server, [{ name: "a.bin", content: randomBytes(200_000), crc32: 1 }]);
    const page = await openModern();
    await visit(page, server, share);
    await page.evaluate(() => globalThis.t.begin());
    let from = 0;
    for (const again of [true, true, false]) {
      assert.equal((await phase(page, ["failed", "arrived", "finished"], from)).problem?.code, "corrupt");
      from = await page.evaluate(() => globalThis.t.states.length);
      if (again) await page.evaluate(() => void globalThis.t.now.retry());
    }
    await claimIsKept(server, share);
  });

  test("but its manifest has no sums, and says so by null: it is whole", async ({ server, openModern }) => {
    const content = randomBytes(1000);
    const share = await sealed(server, [{ name: "a.bin", content, crc32: null }]);
    const page = await openModern();
    await visit(page, server, share);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
  });

  test("in its header", async (scene) => {
    const { page, share, ...rest } = await tampered(scene, (answer) => {
      if (firstOf(answer) === 0) answer.body[3] ^= 1;
      return answer;
    });
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "corrupt");
    await claimIsKept(scene.server, share);
    await goesOn({ page, ...rest });
  });

  test("because its tail is missing", async (scene) => {
    const { page, share, ...rest } = await tampered(scene, ({ body, ...answer }) => ({ ...answer, body: body.subarray(0, -900) }));
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "truncated");
    await claimIsKept(scene.server, share);
    await goesOn({ page, ...rest });
  });

  test("because nothing of its last record comes", async (scene) => {
    const { page, share, ...rest } = await tampered(scene, (answer) => {
      return { ...answer, body: answer.body.subarray(0, Math.max(0, HEADER + 3 * RECORD - firstOf(answer))) };
    });
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "truncated");
    await claimIsKept(scene.server, share);
    await goesOn({ page, ...rest });
  });

  test("because the server has less of it", async (scene) => {
    const { page, share, ...rest } = await tampered(scene, ({ headers, ...answer }) => ({
      ...answer,
      headers: { ...headers, "content-range": headers["content-range"].replace(/\d+$/, "700000") },
    }));
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "truncated");
    await claimIsKept(scene.server, share);
    await goesOn({ page, ...rest });
  });

  test("because something follows its end", async (scene) => {
    const { page, share, ...rest } = await tampered(scene, ({ body, ...answer }) => ({ ...answer, body: Buffer.concat([body, randomBytes(40)]) }));
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "corrupt");
    await claimIsKept(scene.server, share);
    await goesOn({ page, ...rest });
  });

  test("because its last record is not the sender's last", async (scene) => {
    const change = async (_, key) => {
      const longer = await sealMessage(key, new Uint8Array(randomBytes(5 * PLAIN)));
      return Buffer.from(longer.subarray(0, HEADER + 4 * RECORD));
    };
    const share = await sealed(scene.server, one(randomBytes(4 * PLAIN)), { change });
    const page = await scene.openModern();
    await visit(page, scene.server, share);
    await page.evaluate(() => globalThis.t.begin());
    const { problem, received } = await phase(page, ["failed", "finished"]);
    assert.equal(problem?.code, "corrupt");
    assert.equal(received, 3 * PLAIN);
    await claimIsKept(scene.server, share);
  });
});

onStore("embedded", "a download", (test) => {
  test("notices a connection that is silent", async ({ server, openModern, proxy }) => {
    const content = randomBytes(6 * MIB);
    const share = await sealed(server, one(content));
    const bad = await proxy();
    const page = await openModern();
    await visit(page, bad.address, share);
    bad.throttle(4 * MIB, ["down"]);
    await page.evaluate(() => globalThis.t.begin());
    await bad.passed("down", bad.bytes.down + 2 * MIB);
    bad.stall();
    // The network changed, so that silence is suspect: else it would take half a minute.
    await page.evaluate(() => void dispatchEvent(new Event("online")));
    await phase(page, "waiting");
    bad.unstall();
    bad.throttle(Infinity);
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
    assert.ok(starts(bad).at(-1) > MIB, starts(bad).join());
  });

  test("pauses, and goes on", async ({ server, openModern, proxy }) => {
    const content = randomBytes(12 * MIB);
    const share = await sealed(server, one(content));
    const slow = await proxy();
    const page = await openModern();
    await visit(page, slow.address, share);
    slow.throttle(4 * MIB, ["down"]);
    await page.evaluate(() => globalThis.t.begin());
    await slow.passed("down", slow.bytes.down + 3 * MIB);
    await page.evaluate(() => globalThis.t.now.pause());
    const { received } = await phase(page, "paused");
    assert.ok(received > MIB && received < content.length);
    const from = await page.evaluate(() => globalThis.t.states.length);
    slow.throttle(Infinity);
    await page.evaluate(() => globalThis.t.now.resume());
    assert.ok((await phase(page, "receiving", from)).received >= received);
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
    const offsets = starts(slow);
    assert.ok(offsets.length >= 2 && offsets.every((at, i) => i === 0 || at > offsets[i - 1]), offsets.join());
  });

  test("runs in one tab of a browser at a time", async ({ server, openModern, proxy }) => {
    const content = randomBytes(6 * MIB);
    const share = await sealed(server, one(content));
    const slow = await proxy();
    const page = await openModern();
    await visit(page, slow.address, share);
    slow.throttle(MIB / 2, ["down"]);
    await page.evaluate(() => globalThis.t.begin());
    await phase(page, "receiving");
    const other = await page.context().newPage();
    await visit(other, slow.address, share);
    await other.evaluate(() => globalThis.t.begin());
    assert.equal((await phase(other, ["failed", "receiving", "finished"])).problem?.code, "taken_elsewhere");
    // The first is closed: the other goes on.
    const from = await other.evaluate(() => globalThis.t.states.length);
    await page.close();
    slow.throttle(Infinity);
    await other.evaluate(() => globalThis.t.now.retry());
    const state = await phase(other, ["finished", "failed"], from);
    assert.equal(state.phase, "finished", JSON.stringify(state));
    assert.ok((await save(other)).bytes.equals(content));
  });

  test("that arrived is finished after a reload, and can be saved again until it is discarded", async ({ server, openModern, proxy }) => {
    const content = randomBytes(PLAIN);
    const share = await sealed(server, one(content));
    const bad = await proxy();
    const page = await openModern();
    await visit(page, bad.address, share);
    const honest = bad.tamper(isFinish, () => ({ status: 502, headers: {}, body: Buffer.from("down") }));
    await page.evaluate(() => globalThis.t.begin());
    await page.waitForFunction(() => globalThis.t.states.some(({ phase, problem }) => phase === "arrived" && problem?.code === "unreachable"));
    honest();
    await visit(page, bad.address, share);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
    assert.equal((await receipt(server, share)).state, "finished");
    for (let times = 0; times < 2; times += 1) assert.ok((await save(page)).bytes.equals(content));
    await visit(page, bad.address, share);
    await page.evaluate(() => globalThis.t.begin());
    assert.ok((await save(page)).bytes.equals(content));
    assert.equal(bad.requests.filter(isContent).length, 1);
    await page.evaluate(() => globalThis.t.now.discard());
    assert.deepEqual(await staged(page), []);
    assert.equal(await page.evaluate(() => globalThis.t.download.remembered(globalThis.t.share.id)), null);
  });
});

/** What Python's zipfile makes of a zip, whose sums it checks: names and contents in order. */
async function unzipped(folder, bytes) {
  const path = join(folder, "got.zip");
  await writeFile(path, bytes);
  const script = `
import base64, json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    print(json.dumps([[i.filename, base64.b64encode(z.read(i)).decode()] for i in z.infolist()]))`;
  const { stdout } = await promisify(execFile)("python3", ["-c", script, path], { maxBuffer: 2 ** 30 });
  return JSON.parse(stdout).map(([name, content]) => ({ name, content: Buffer.from(content, "base64") }));
}

const same = (got, files) => {
  assert.deepEqual(got.map(({ name }) => name), files.map(({ name }) => name));
  for (const [i, { content, name }] of files.entries()) assert.ok(got[i].content.equals(content), name);
};

/** Files of all sorts: empty ones, small ones, some that end where a record ends, some that span records. */
const assorted = () => [
  { name: "empty at first", content: Buffer.alloc(0) },
  { name: "Ordner/Größe 🎉.txt", content: randomBytes(1000) },
  { name: "to the end of the record", content: randomBytes(PLAIN - 1000) },
  { name: "empty between", content: Buffer.alloc(0) },
  { name: "Ordner/large.bin", content: randomBytes(2 * PLAIN + 77) },
  ...Array.from({ length: 300 }, (_, i) => ({ name: `many/${i}.txt`, content: randomBytes((i * 131) % 3000) })),
  { name: "spans", content: randomBytes(PLAIN) },
  { name: "empty at last", content: Buffer.alloc(0) },
];

onStore("embedded", "several files", (test) => {
  test("are one zip, or saved one by one", async ({ server, openModern, folder }) => {
    const files = assorted();
    const share = await sealed(server, files);
    const page = await openModern();
    await visit(page, server, share);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
    const { name, bytes } = await save(page);
    assert.equal(name, `onetimeshare-${share.id.slice(0, 8)}.zip`);
    same(await unzipped(folder, bytes), files);
    const [single, empty] = [files[4], files[3]];
    const large = await saved(page, () => globalThis.t.now.saveOne(4));
    assert.equal(large.name, "large.bin");
    assert.ok(large.bytes.equals(single.content));
    const none = await saved(page, () => globalThis.t.now.saveOne(3));
    assert.equal(none.name, empty.name);
    assert.equal(none.bytes.length, 0);
  });

  test("are one zip after a reload in the middle, too", async ({ server, openModern, proxy, folder }) => {
    const files = [...assorted(), { name: "24 MiB", content: randomBytes(24 * MIB) }, ...assorted().map(({ name, content }) => ({ name: `more/${name}`, content }))];
    const share = await sealed(server, files);
    const slow = await proxy();
    const page = await openModern();
    await visit(page, slow.address, share);
    slow.throttle(12 * MIB, ["down"]);
    await page.evaluate(() => globalThis.t.begin());
    await progressed(page, 16 * MIB);
    await visit(page, slow.address, share);
    slow.throttle(Infinity);
    await page.evaluate(() => globalThis.t.begin());
    assert.ok((await phase(page, "receiving")).received >= 16 * MIB);
    await finished(page);
    same(await unzipped(folder, (await save(page)).bytes), files);
  });

  test("whose sums are in the manifest are checked against them", async ({ server, openModern, folder }) => {
    const files = assorted().map((file) => ({ ...file, crc32: crc32(file.content) }));
    const share = await sealed(server, files);
    const page = await openModern();
    await visit(page, server, share);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
    same(await unzipped(folder, (await save(page)).bytes), files);

    files[5].crc32 ^= 1;
    files[5].crc32 >>>= 0;
    const wrong = await sealed(server, files);
    await visit(page, server, wrong);
    await page.evaluate(() => globalThis.t.begin());
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "corrupt");
    assert.equal((await receipt(server, wrong)).state, "claimed");
  });
});

onStore("embedded", "where the private file system has no room, a download", (test) => {
  /** Makes this browser's quota small. */
  const noRoom = (page) =>
    page.addInitScript(() => {
      navigator.storage.estimate = async () => ({ quota: 1000, usage: 0 });
    });
  const noPicker = (page) => page.addInitScript(() => Reflect.deleteProperty(globalThis, "showSaveFilePicker"));
  /** A file picker that gives a file which the test can read. */
  const picker = (page) =>
    page.addInitScript(() => {
      globalThis.showSaveFilePicker = async ({ suggestedName }) => {
        const root = await navigator.storage.getDirectory();
        return root.getFileHandle(suggestedName, { create: true });
      };
    });
  const picked = async (page, name) => {
    const got = await saved(page, `(async () => {
      const file = await (await (await navigator.storage.getDirectory()).getFileHandle(${JSON.stringify(name)})).getFile();
      Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: "got" }).click();
    })()`);
    return got.bytes;
  };

  test("goes into a file that the user chose", async ({ server, openModern, proxy, folder }) => {
    for (const files of [one(randomBytes(5 * MIB + 5), "a b.bin"), assorted()]) {
      const share = await sealed(server, files);
      const bad = await proxy();
      const page = await openModern();
      await noRoom(page);
      await picker(page);
      await visit(page, bad.address, share);
      const cut = bad.cutAfter(MIB, "down");
      await page.evaluate(async () => {
        const { api, save, seal, keys, share } = globalThis.t;
        const { size, manifest } = await api.peek(share.id, seal.encode(keys.proof));
        const plan = await save.plan(await seal.openManifest(keys.manifest, seal.decode(manifest), seal.plainLength(size)), size, share.id);
        await plan.choose();
        await globalThis.t.begin(plan);
      });
      await cut;
      await finished(page);
      assert.equal(await page.evaluate(() => globalThis.t.now.kind), "picker");
      const name = files.length === 1 ? files[0].name : `onetimeshare-${share.id.slice(0, 8)}.zip`;
      const bytes = await picked(page, name);
      if (files.length === 1) assert.ok(bytes.equals(files[0].content));
      else same(await unzipped(folder, bytes), files);
      assert.equal((await receipt(server, share)).state, "finished");
    }
  });

  test("streams to the browser's own download", async ({ server, openModern, proxy, folder }) => {
    for (const files of [one(randomBytes(9 * MIB), "Größe's (1)*.bin"), assorted()]) {
      const share = await sealed(server, files);
      const bad = await proxy();
      const page = await openModern();
      await noRoom(page);
      await noPicker(page);
      await visit(page, bad.address, share);
      const cut = bad.cutAfter(MIB, "down");
      const [file] = await Promise.all([page.waitForEvent("download"), page.evaluate(() => globalThis.t.begin())]);
      await cut;
      await finished(page);
      assert.equal(await page.evaluate(() => globalThis.t.now.kind), "stream");
      assert.equal(file.suggestedFilename(), files.length === 1 ? "Größe's (1)_.bin" : `onetimeshare-${share.id.slice(0, 8)}.zip`);
      const bytes = await readFile(await file.path());
      if (files.length === 1) assert.ok(bytes.equals(files[0].content));
      else same(await unzipped(folder, bytes), files);
      assert.ok(!bad.requests.some(({ target }) => target.startsWith("/save/")), "the server heard of it");
    }
  });

  test("that streams and is not whole fails in the browser, too, and begins anew", async ({ server, openModern, proxy }) => {
    const content = randomBytes(3 * PLAIN);
    const share = await sealed(server, one(content));
    const bad = await proxy();
    const page = await openModern();
    await noRoom(page);
    await noPicker(page);
    await visit(page, bad.address, share);
    const honest = bad.tamper(isContent, (answer) => {
      answer.body[HEADER + 2 * RECORD + 7 - firstOf(answer)] ^= 1;
      return answer;
    });
    const [file] = await Promise.all([page.waitForEvent("download"), page.evaluate(() => globalThis.t.begin())]);
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "corrupt");
    assert.ok(await file.failure());
    honest();
    const from = await page.evaluate(() => globalThis.t.states.length);
    const [again] = await Promise.all([page.waitForEvent("download"), page.evaluate(() => globalThis.t.now.retry())]);
    assert.equal((await phase(page, ["failed", "finished"], from)).phase, "finished");
    assert.ok((await readFile(await again.path())).equals(content));
  });

  test("that streams and is cancelled says so", async ({ server, openModern, proxy }) => {
    const share = await sealed(server, one(randomBytes(9 * MIB)));
    const slow = await proxy();
    const page = await openModern();
    await noRoom(page);
    await noPicker(page);
    await visit(page, slow.address, share);
    slow.throttle(2 * MIB, ["down"]);
    const [file] = await Promise.all([page.waitForEvent("download"), page.evaluate(() => globalThis.t.begin())]);
    await phase(page, "receiving");
    await file.cancel();
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "not_saved");
    assert.equal((await receipt(server, share)).state, "claimed");
  });

  test("is kept in memory if it is small, or else has no place", async ({ server, openModern }) => {
    const content = randomBytes(PLAIN + 5);
    const share = await sealed(server, one(content));
    const page = await openModern();
    await noRoom(page);
    await noPicker(page);
    await page.addInitScript(() => Object.defineProperty(navigator, "serviceWorker", { value: undefined }));
    await visit(page, server, share);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
    assert.equal(await page.evaluate(() => globalThis.t.now.kind), "memory");
    assert.ok((await save(page)).bytes.equals(content));
    const huge = await page.evaluate(() => {
      const { save, seal } = globalThis.t;
      const size = 257 * 2 ** 20;
      return save.plan({ v: 1, files: [{ name: "a", size }] }, seal.sealedLength(size), "");
    });
    assert.equal(huge.kind, "none");
  });

  test("of a text is kept in memory, and can be read", async ({ server, openModern }) => {
    const text = "Grüße 🎉\n".repeat(50);
    const share = await sealed(server, [{ name: "text.txt", content: Buffer.from(text), kind: "text" }], { password: "ö" });
    const page = await openModern();
    await noRoom(page);
    await visit(page, server, share);
    await page.evaluate(() => globalThis.t.begin());
    await finished(page);
    assert.equal(await page.evaluate(() => globalThis.t.now.text()), text);
  });

  test("that runs out of room says so, keeps the claim, and goes on once there is some", async ({ server, openModern }) => {
    const share = await sealed(server, one(randomBytes(9 * MIB)));
    const page = await openModern();
    await page.addInitScript(() => {
      navigator.storage.estimate = async () => ({ quota: 1e12, usage: 0 });
    });
    await visit(page, server, share);
    const session = await page.context().newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server, quotaSize: 2 * MIB });
    await page.evaluate(() => globalThis.t.begin());
    assert.equal((await phase(page, ["failed", "finished"])).problem?.code, "no_room");
    assert.equal((await receipt(server, share)).state, "claimed");
    const from = await page.evaluate(() => globalThis.t.states.length);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server });
    await page.evaluate(() => globalThis.t.now.retry());
    assert.equal((await phase(page, ["failed", "finished"], from)).phase, "finished");
  });
});

onStore("embedded", "a later visit", (test) => {
  const age = (page, id, changes) =>
    page.evaluate(async ([id, changes]) => {
      const { modules } = globalThis.t;
      const remember = await import(`${modules}remember.js`);
      await remember.put("claims", { ...(await remember.get("claims", id)), ...changes });
    }, [id, changes]);

  test("removes what nobody comes back for, and nothing else", async ({ server, openModern }) => {
    const page = await openModern();
    const shares = [];
    for (let i = 0; i < 5; i += 1) {
      const share = await sealed(server, one(randomBytes(1000)));
      shares.push(share.id);
      await visit(page, server, share);
      await page.evaluate(() => globalThis.t.begin());
      await finished(page);
    }
    const [fresh, old, lapsed, orphan, odd] = shares;
    const yesterday = Date.now() - 25 * 3600_000;
    await age(page, old, { finishedAt: yesterday });
    await age(page, lapsed, { state: "granted", finishedAt: undefined, leaseExpiresAt: yesterday });
    // As a page of another version may have kept it.
    await age(page, odd, { state: "granted", finishedAt: undefined, leaseExpiresAt: undefined });
    await page.evaluate(async (id) => (await import(`${globalThis.t.modules}remember.js`)).forget("claims", id), orphan);
    assert.deepEqual((await staged(page)).sort(), [...shares].sort());
    await page.evaluate(() => globalThis.t.download.tidy());
    assert.deepEqual((await staged(page)).sort(), [fresh, odd].sort());
    const left = await page.evaluate((ids) => Promise.all(ids.map((id) => globalThis.t.download.remembered(id))), shares);
    assert.deepEqual(left.map((record) => record?.id), [fresh, undefined, undefined, undefined, odd]);
  });

  test("finishes what arrived while the server could not be told", async ({ server, openModern, proxy }) => {
    const share = await sealed(server, one(randomBytes(1000)));
    const bad = await proxy();
    const page = await openModern();
    await visit(page, bad.address, share);
    const honest = bad.tamper(isFinish, () => ({ status: 502, headers: {}, body: Buffer.from("down") }));
    await page.evaluate(() => globalThis.t.begin());
    await phase(page, "arrived");
    await page.evaluate(() => globalThis.t.now.stop());
    honest();
    await page.evaluate(async () => {
      const { download, share } = globalThis.t;
      await download.tidy();
      while ((await download.remembered(share.id)).state !== "finished") await new Promise(requestAnimationFrame);
    });
    assert.equal((await receipt(server, share)).state, "finished");
  });
});

onStore("embedded", "what a phone shares", (test) => {
  test("stays in the browser: the server hears nothing of it", async ({ server, openModern, proxy }) => {
    const recording = await proxy({ record: true });
    const page = await openModern();
    await visit(page, recording.address, await sealed(server, one(Buffer.from("x"))));
    const modules = await page.evaluate(() => globalThis.t.modules);
    await page.evaluate(async (modules) => (await import(`${modules}service.js`)).serviceWorker(), modules);
    // The page that the answer leads to would take it in.
    await page.route("**/send.js", (route) => route.fulfill({ contentType: "text/javascript", body: "export {};" }));
    await page.evaluate(() => {
      const form = Object.assign(document.createElement("form"), { method: "post", action: "/share-target", enctype: "multipart/form-data" });
      const field = (type, name) => form.appendChild(Object.assign(document.createElement("input"), { type, name }));
      field("text", "title").value = "CANARY title";
      field("text", "text").value = "CANARY text";
      field("text", "url").value = "https://canary.example/";
      const files = new DataTransfer();
      files.items.add(new File(["CANARY content"], "CANARY.txt"));
      files.items.add(new File(["more"], "more.txt"));
      field("file", "file").files = files.files;
      document.body.append(form);
      form.submit();
    });
    await page.waitForURL((url) => url.pathname === "/" && url.searchParams.has("shared"));
    const records = await page.evaluate(async (modules) => {
      const { all } = await import(`${modules}remember.js`);
      return Promise.all((await all("shared")).map(async ({ files, text }) => ({ text, files: await Promise.all(files.map(async (file) => [file.name, await file.text()])) })));
    }, modules);
    const files = [["CANARY.txt", "CANARY content"], ["more.txt", "more"]];
    assert.deepEqual(records, [{ text: "CANARY title\nCANARY text\nhttps://canary.example/", files }]);
    assert.ok(!Buffer.concat(recording.said.flat()).includes("CANARY"), "the server was told");
    assert.ok(!recording.requests.some(({ method, target }) => target.startsWith("/share-target")));
  });
});

test("the service worker keeps to the database that the modules use", async () => {
  const [worker, module] = await Promise.all(
    ["sw.js", "lib/remember.js"].map((name) => readFile(new URL(`../../static/${name}`, import.meta.url), "utf8")),
  );
  for (const name of ["NAME", "VERSION", "STORES"]) {
    const line = new RegExp(`^const ${name} = .*;$`, "m");
    assert.equal(line.exec(worker)?.[0], String(line.exec(module)?.[0]));
  }
});
