// A TCP proxy between browser and server: it breaks connections as networks do, and writes down what passed.

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";

/** @typedef {"up" | "down"} Direction up: from the browser to the server */

/**
 * @typedef {object} Request what passed of one request and its answer
 * @property {string} method
 * @property {string} target path and query
 * @property {Record<string, string>} headers with names in lower case
 * @property {number} length of the body, as announced
 * @property {number} sent bytes of the body that passed
 * @property {Buffer[]} body those bytes, where the proxy records
 * @property {number} status 0 before there is an answer
 * @property {number} received bytes of the answer that passed, its head included
 */

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {Record<string, string>} headers with names in lower case; `content-length` is set by the proxy
 * @property {Buffer} body
 */

/** @typedef {{ matches: (request: Request) => boolean, change: (answer: Answer) => Answer }} Tampering */

export class Proxy extends EventEmitter {
  /** Every request that passed, in the order of their heads. @type {Request[]} */
  requests = [];
  /** Bytes that passed. @type {Record<Direction, number>} */
  bytes = { up: 0, down: 0 };
  /** Everything that the browser said, connection by connection, where the proxy records. @type {Buffer[][]} */
  said = [];

  /** @type {Set<Passage>} */
  passages = new Set();
  /** @type {Record<Direction, { rate: number, free: number }>} */
  limits = { up: { rate: Infinity, free: 0 }, down: { rate: Infinity, free: 0 } };
  /** @type {{ direction: Direction, left: number, burnt: () => void } | null} */
  fuse = null;
  /** @type {Tampering[]} */
  tamperings = [];
  stalled = false;
  port = 0;

  /**
   * @param {string} server address of the server, without a closing slash
   * @param {{ record?: boolean }} options `record` keeps everything that the browser says, in memory
   */
  constructor(server, { record = false } = {}) {
    super();
    this.setMaxListeners(0);
    this.server = new URL(server);
    this.record = record;
    this.listener = createServer({ allowHalfOpen: true }, (browser) => new Passage(this, browser));
  }

  /**
   * @param {string} server
   * @param {{ record?: boolean }} [options]
   */
  static async before(server, options) {
    const proxy = new Proxy(server, options);
    await proxy.accept();
    return proxy;
  }

  /** Address for the browser, without a closing slash. */
  get address() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resets every connection. New ones are welcome. */
  cut() {
    for (const passage of this.passages) passage.reset();
    this.emit("cut");
  }

  /** Resets every connection, and refuses new ones. */
  async refuse() {
    const closed = once(this.listener, "close");
    this.listener.close();
    this.cut();
    await closed;
  }

  /** Takes connections, again at the same address. */
  async accept() {
    this.listener.listen(this.port, "127.0.0.1");
    await once(this.listener, "listening");
    this.port = /** @type {import("node:net").AddressInfo} */ (this.listener.address()).port;
  }

  /** Moves nothing any more, and keeps all connections open; new ones, too. */
  stall() {
    this.stalled = true;
  }

  /** Moves again what `stall` has stopped. */
  unstall() {
    this.stalled = false;
    this.emit("unstalled");
  }

  /**
   * Limits all connections together.
   *
   * @param {number} rate bytes a second; `Infinity` ends the limit
   * @param {Direction[]} directions
   */
  throttle(rate, directions = ["up", "down"]) {
    for (const direction of directions) this.limits[direction] = { rate, free: performance.now() };
  }

  /**
   * Lets so many more bytes pass, then resets every connection, once.
   *
   * @param {number} bytes of all connections together, heads included
   * @param {Direction} direction
   * @returns {Promise<void>} fulfilled after the cut
   */
  cutAfter(bytes, direction) {
    assert.ok(bytes > 0);
    return new Promise((burnt) => (this.fuse = { direction, left: bytes, burnt }));
  }

  /**
   * Changes the answers to some requests. They are held back until they are whole: for small ones.
   *
   * @param {(request: Request) => boolean} matches
   * @param {(answer: Answer) => Answer} change
   * @returns {() => void} ends it
   */
  tamper(matches, change) {
    const tampering = { matches, change };
    this.tamperings.push(tampering);
    return () => (this.tamperings = this.tamperings.filter((other) => other !== tampering));
  }

  /**
   * Fulfilled as soon as so many bytes passed in all.
   *
   * @param {Direction} direction
   * @param {number} bytes
   */
  async passed(direction, bytes) {
    while (this.bytes[direction] < bytes) await once(this, "bytes");
  }

  /**
   * The next request that matches, as soon as its head passed.
   *
   * @param {(request: Request) => boolean} matches
   * @returns {Promise<Request>}
   */
  next(matches) {
    return new Promise((resolve) => {
      const look = (/** @type {Request} */ request) => {
        if (!matches(request)) return;
        this.off("request", look);
        resolve(request);
      };
      this.on("request", look);
    });
  }

  async close() {
    if (this.listener.listening) await this.refuse();
    this.unstall();
  }

  /**
   * How many of the bytes at hand may pass now; waits until one may.
   *
   * @param {Direction} direction
   * @param {number} wanted
   * @returns {Promise<number>}
   */
  async leave(direction, wanted) {
    for (;;) {
      if (this.stalled) {
        await once(this, "unstalled");
        continue;
      }
      const fuse = this.fuse?.direction === direction ? this.fuse : null;
      if (fuse?.left === 0) {
        await once(this, "cut");
        continue;
      }
      const limit = this.limits[direction];
      const wait = limit.free - performance.now();
      if (wait > 0) {
        await pause(Math.min(wait, 50));
        continue;
      }
      const share = Math.min(wanted, fuse?.left ?? Infinity, Math.max(1, Math.floor(limit.rate / 20)));
      if (limit.rate !== Infinity) limit.free = Math.max(limit.free, performance.now() - 50) + (share / limit.rate) * 1000;
      if (fuse) fuse.left -= share;
      return share;
    }
  }

  /**
   * @param {Direction} direction
   * @param {number} count
   */
  moved(direction, count) {
    this.bytes[direction] += count;
    this.emit("bytes");
    if (this.fuse?.direction !== direction || this.fuse.left > 0) return;
    const { burnt } = this.fuse;
    this.fuse = null;
    this.cut();
    burnt();
  }
}

/** One connection of a browser, and the one to the server that belongs to it. */
class Passage {
  /** @type {Request | null} */
  request = null;
  /** The head that has begun to come. */
  head = Buffer.alloc(0);
  /** How much of a request's body is still to come. */
  left = 0;
  /** @type {{ change: (answer: Answer) => Answer, bytes: Buffer } | null} */
  held = null;
  over = false;

  /**
   * @param {Proxy} proxy
   * @param {import("node:net").Socket} browser
   */
  constructor(proxy, browser) {
    this.proxy = proxy;
    this.browser = browser;
    this.server = connect({ host: proxy.server.hostname, port: Number(proxy.server.port), allowHalfOpen: true });
    this.said = [];
    if (proxy.record) proxy.said.push(this.said);
    proxy.passages.add(this);
    browser.setNoDelay();
    this.server.setNoDelay();
    Promise.all([this.pump(browser, this.server, "up"), this.pump(this.server, browser, "down")]).then(
      () => this.end(),
      (error) => {
        this.reset();
        // Networks have codes for what they do; what has none went wrong here.
        if (!("code" in error)) proxy.emit("error", error);
      },
    );
  }

  end() {
    this.proxy.passages.delete(this);
    this.browser.destroy();
    this.server.destroy();
  }

  /** Also what a browser sees of a server that is gone. */
  reset() {
    this.over = true;
    this.proxy.passages.delete(this);
    reset(this.browser);
    // A reset here, while bytes are on their way, would keep Node 20 from ever ending.
    this.server.destroy();
  }

  /**
   * @param {import("node:net").Socket} from
   * @param {import("node:net").Socket} to
   * @param {Direction} direction
   */
  async pump(from, to, direction) {
    to.on("error", () => this.reset());
    for await (const piece of from) {
      for (let at = 0; at < piece.length; ) {
        const count = await this.proxy.leave(direction, piece.length - at);
        if (this.over) return;
        const part = piece.subarray(at, at + count);
        at += count;
        if (direction === "up") this.read(part);
        const passing = direction === "down" ? this.answer(part) : part;
        if (passing.length > 0) await written(to, passing);
        this.proxy.moved(direction, count);
      }
    }
    to.end();
  }

  /** Reads requests (RFC 9112), whose bodies tell their length: browsers send no others. @param {Buffer} part */
  read(part) {
    if (this.proxy.record) this.said.push(part);
    while (part.length > 0) {
      if (this.left > 0) {
        const body = part.subarray(0, this.left);
        part = part.subarray(body.length);
        this.left -= body.length;
        const request = /** @type {Request} */ (this.request);
        request.sent += body.length;
        if (this.proxy.record) request.body.push(body);
        continue;
      }
      this.head = Buffer.concat([this.head, part]);
      const end = this.head.indexOf("\r\n\r\n");
      if (end < 0) return;
      part = this.head.subarray(end + 4);
      this.begin(this.head.toString("latin1", 0, end));
      this.head = Buffer.alloc(0);
    }
  }

  /** @param {string} head */
  begin(head) {
    const [line, headers] = parted(head);
    const [method, target] = line.split(" ");
    if ("transfer-encoding" in headers) throw new Error(`a request without a length: ${head}`);
    this.left = Number(headers["content-length"] ?? 0);
    this.request = { method, target, headers, length: this.left, sent: 0, body: [], status: 0, received: 0 };
    this.proxy.requests.push(this.request);
    const { request } = this;
    const change = this.proxy.tamperings.find((tampering) => tampering.matches(request))?.change;
    this.held = change ? { change, bytes: Buffer.alloc(0) } : null;
    this.proxy.emit("request", request);
  }

  /** What the browser gets of a piece of an answer: nothing yet, where it is tampered with. @param {Buffer} part */
  answer(part) {
    if (this.request) {
      this.request.received += part.length;
      this.request.status ||= Number(/^HTTP\/1\.1 (\d{3})/.exec(part.toString("latin1", 0, 12))?.[1] ?? 0);
    }
    if (!this.held) return part;
    this.held.bytes = Buffer.concat([this.held.bytes, part]);
    const end = this.held.bytes.indexOf("\r\n\r\n");
    if (end < 0) return Buffer.alloc(0);
    const [line, headers] = parted(this.held.bytes.toString("latin1", 0, end));
    if ("transfer-encoding" in headers) throw new Error("an answer without a length can't be tampered with");
    const status = Number(line.split(" ")[1]);
    const isBare = (/** @type {number} */ status) => this.request?.method === "HEAD" || status === 204 || status === 304;
    const body = this.held.bytes.subarray(end + 4);
    if (!isBare(status) && body.length < Number(headers["content-length"] ?? 0)) return Buffer.alloc(0);
    const answer = { status, headers, body: Buffer.from(body) };
    const changed = this.held.change(answer);
    this.held = null;
    const length = isBare(changed.status) ? {} : { "content-length": String(changed.body.length) };
    const lines = Object.entries({ ...changed.headers, ...length });
    const head = [`HTTP/1.1 ${changed.status} `, ...lines.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
    return Buffer.concat([Buffer.from(head, "latin1"), changed.body]);
  }
}

/**
 * Resets a connection. Node never closes one that is reset while its end is being said.
 *
 * @param {import("node:net").Socket} socket
 */
function reset(socket) {
  if (socket.writableEnded || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

/**
 * @param {import("node:net").Socket} socket
 * @param {Buffer} bytes
 * @returns {Promise<void>}
 */
function written(socket, bytes) {
  return new Promise((resolve, reject) => socket.write(bytes, (error) => (error ? reject(error) : resolve())));
}

/** First line and headers of a head. @param {string} head @returns {[string, Record<string, string>]} */
function parted(head) {
  const [line, ...lines] = head.split("\r\n");
  const headers = lines.map((header) => /^([^:]+):\s*(.*?)\s*$/.exec(header)).filter((match) => match !== null);
  return [line, Object.fromEntries(headers.map(([, name, value]) => [name.toLowerCase(), value]))];
}
