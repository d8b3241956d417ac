import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import { connect } from "node:net";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";

import { Proxy } from "./proxy.js";

const CONTENT = randomBytes(300_000);

describe("the proxy", () => {
  /** @type {import("node:http").Server} */
  let server;
  /** @type {string} */
  let origin;
  /** What came of each upload, whole or not. @type {Promise<Buffer>[]} */
  let arrived;
  /** @type {Proxy} */
  let proxy;
  /** @type {Agent} */
  let agent;

  before(async () => {
    server = createServer((incoming, answer) => {
      /** @type {Buffer[]} */
      const pieces = [];
      incoming.on("data", (piece) => pieces.push(piece));
      arrived.push(new Promise((resolve) => incoming.once("close", () => resolve(Buffer.concat(pieces)))));
      incoming.on("error", () => {});
      incoming.on("end", () => answer.writeHead(200, { etag: '"x"', "content-length": CONTENT.length }).end(CONTENT));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    origin = `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}`;
  });
  after(() => server.close());
  beforeEach(async () => {
    arrived = [];
    proxy = await Proxy.before(origin);
    agent = new Agent({ keepAlive: true, maxSockets: 1 });
  });
  afterEach(async () => {
    agent.destroy();
    await proxy.close();
  });

  /**
   * @param {{ method?: string, body?: Buffer, to?: Proxy, path?: string }} [what]
   * @returns {Promise<Buffer>} the answer's body
   */
  async function ask({ method = "GET", body = Buffer.alloc(0), to = proxy, path = "/" } = {}) {
    const asking = request(to.address + path, { method, agent, headers: { "content-length": body.length } });
    asking.end(body);
    const [answer] = await once(asking, "response");
    /** @type {Buffer[]} */
    const pieces = [];
    for await (const piece of answer) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  it("passes both ways what it gets, and counts it", async () => {
    const sent = randomBytes(5_000_000);
    assert.ok((await ask({ method: "PATCH", body: sent, path: "/a?b" })).equals(CONTENT));
    assert.ok((await ask()).equals(CONTENT));
    assert.ok((await arrived[0]).equals(sent));
    const [first, second] = proxy.requests;
    assert.deepEqual([first.method, first.target, first.length, first.sent, first.status], ["PATCH", "/a?b", 5_000_000, 5_000_000, 200]);
    assert.deepEqual([second.method, second.sent, second.headers["content-length"]], ["GET", 0, "0"]);
    assert.ok(first.received > CONTENT.length && first.received < CONTENT.length + 500);
    assert.equal(proxy.bytes.down, first.received + second.received);
    assert.ok(proxy.bytes.up > 5_000_000 && proxy.bytes.up < 5_001_000);
    assert.equal(proxy.passages.size, 1, "a connection that could be kept was not");
  });

  it("resets connections that rest, and takes new ones", async () => {
    await ask();
    const socket = connect(proxy.port, "127.0.0.1");
    await once(socket, "connect");
    socket.write("GET / HTTP/1.1\r\n");
    await proxy.passed("up", proxy.bytes.up + 1);
    proxy.cut();
    const [error] = await once(socket, "error");
    assert.equal(error.code, "ECONNRESET");
    assert.ok((await ask()).equals(CONTENT));
  });

  it("leaves no connection open, not even one that nobody reads or one whose end was said", async () => {
    const open = () => process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length;
    while (open() > 0) await later(20);
    const deaf = connect(proxy.port, "127.0.0.1").pause();
    deaf.on("error", () => {});
    for (let asked = 0; asked < 60; asked += 1) deaf.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    // Far less than the answers: what fits into buffers.
    await proxy.passed("down", 3 * CONTENT.length);
    const ended = connect(proxy.port, "127.0.0.1");
    ended.end("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(ended.resume(), "end");
    await Promise.all([once(deaf, "close"), deaf.resume(), proxy.close()]);
    while (open() > 0) await later(20);
  });

  it("cuts after so many bytes, to the byte, and once", async () => {
    const sent = randomBytes(3_000_000);
    const cut = proxy.cutAfter(1_000_000, "up");
    await assert.rejects(ask({ method: "PATCH", body: sent }), { code: /ECONNRESET|EPIPE/ });
    await cut;
    assert.equal(proxy.bytes.up, 1_000_000);
    const [request] = proxy.requests;
    assert.ok(request.sent < 1_000_000 && request.sent > 999_000, String(request.sent));
    assert.ok((await arrived[0]).equals(sent.subarray(0, request.sent)), "the server has something else");
    await ask({ method: "PATCH", body: sent });
    assert.ok((await arrived[1]).equals(sent));

    const before = proxy.bytes.down;
    const again = proxy.cutAfter(100_000, "down");
    await assert.rejects(ask(), { code: "ECONNRESET" });
    await again;
    assert.equal(proxy.bytes.down, before + 100_000);
    assert.ok((await ask()).equals(CONTENT));
  });

  it("refuses connections until it accepts them again, at the same address", async () => {
    const { address } = proxy;
    await proxy.refuse();
    await assert.rejects(ask(), { code: "ECONNREFUSED" });
    await proxy.accept();
    assert.equal(proxy.address, address);
    assert.ok((await ask()).equals(CONTENT));
  });

  it("moves nothing while it stalls, and everything afterwards", async () => {
    await ask();
    const before = { ...proxy.bytes };
    proxy.stall();
    const answer = ask();
    const first = await Promise.race([answer.then(() => "answer"), once(server, "request").then(() => "request"), later(300)]);
    assert.equal(first, "later");
    assert.deepEqual(proxy.bytes, before);
    proxy.unstall();
    assert.ok((await answer).equals(CONTENT));
  });

  it("keeps to the rate, of all connections together", async () => {
    const rate = 1_000_000;
    proxy.throttle(rate, ["down"]);
    const start = performance.now();
    await Promise.all([ask(), fetch(proxy.address).then((answer) => answer.arrayBuffer())]);
    const seconds = (performance.now() - start) / 1000;
    const least = (2 * CONTENT.length) / rate;
    assert.ok(seconds > least * 0.8, `${seconds} s`);
    proxy.throttle(Infinity);
    assert.ok((await ask()).equals(CONTENT));
  });

  it("tampers with the answers that it is told to, and no others", async () => {
    const end = proxy.tamper(
      ({ target }) => target === "/flip",
      (answer) => {
        answer.body[7] ^= 1;
        return answer;
      },
    );
    const flipped = await ask({ path: "/flip" });
    assert.equal(flipped[7], CONTENT[7] ^ 1);
    assert.ok(flipped.subarray(8).equals(CONTENT.subarray(8)));
    assert.ok((await ask({ path: "/other" })).equals(CONTENT));
    end();
    assert.ok((await ask({ path: "/flip" })).equals(CONTENT));
    proxy.tamper(
      () => true,
      (answer) => ({ ...answer, body: answer.body.subarray(0, -1) }),
    );
    assert.equal((await ask()).length, CONTENT.length - 1);
  });

  it("writes down everything that the browser says", async () => {
    const recorder = await Proxy.before(origin, { record: true });
    try {
      const body = randomBytes(500_000);
      await ask({ method: "PATCH", body, to: recorder, path: "/said" });
      await ask({ to: recorder, path: "/too" });
      assert.ok(Buffer.concat(recorder.requests[0].body).equals(body));
      assert.equal(recorder.said.length, 1);
      const said = Buffer.concat(recorder.said[0]);
      assert.equal(said.length, recorder.bytes.up);
      assert.ok(said.includes("PATCH /said HTTP/1.1\r\n") && said.includes(body) && said.includes("GET /too HTTP/1.1\r\n"));
    } finally {
      await recorder.close();
    }
  });

  it("tells of a server that is gone as a network does", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = /** @type {import("node:net").AddressInfo} */ (gone.address());
    await new Promise((resolve) => gone.close(resolve));
    const orphan = await Proxy.before(`http://127.0.0.1:${port}`);
    try {
      await assert.rejects(ask({ to: orphan }), { code: "ECONNRESET" });
    } finally {
      await orphan.close();
    }
  });
});

/** @param {number} milliseconds @returns {Promise<"later">} */
function later(milliseconds) {
  return new Promise((resolve) => setTimeout(() => resolve("later"), milliseconds));
}
