import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";

import { onBothStores, onStore } from "./harness.js";
import { sealed } from "./sealed.js";
import { HEADER, PLAIN, RECORD, sealMessage } from "../../static/lib/seal.js";

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
    assert.ok(bad.bytes.down - received < share.size + 2 * MIB, `${bad.bytes.down - received} of ${share.size}`);
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
    const noted = 16 * MIB;
    await page.evaluate(async (noted) => {
      const { download, share } = globalThis.t;
      while (!((await download.remembered(share.id))?.progress?.record * 262_127 >= noted)) await new Promise(requestAnimationFrame);
    }, noted);
    const before = starts(slow).length;
    await visit(page, slow.address, share);
    slow.throttle(Infinity);
    await page.evaluate(() => globalThis.t.begin());
    const first = await phase(page, "receiving");
    assert.ok(first.received >= noted, JSON.stringify(first));
    await finished(page);
    assert.ok((await save(page)).bytes.equals(content));
    const [again] = starts(slow).slice(before);
    assert.ok(again >= noted && (again - HEADER) % RECORD === 0, `${again}`);
    assert.deepEqual((await receipt(server, share)).claims.length, 1);
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
      globalThis.late = { size, manifest: open, how: await save.plan(open, size) };
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

/** Names of the files that are staged in this browser. */
const staged = (page) =>
  page.evaluate(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("staged", { create: true });
    const names = [];
    for await (const name of folder.keys()) names.push(name);
    return names;
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
    await page.evaluate(() => globalThis.t.now.retry());
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
    await page.evaluate(() => globalThis.t.now.wake());
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
    assert.equal(starts(slow).length, 2);
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
