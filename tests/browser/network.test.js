import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ApiError, Unreachable } from "../../static/lib/api.js";
import { Backoff, Rate, Watchdog, codeOf, passes, secondsLeft, sleep, suspect, wake } from "../../static/lib/network.js";

const answered = (status, code = "of_ours", retryAfter = null) => new ApiError(status, { code }, retryAfter);
const foreign = (status) => new ApiError(status, {});
const ticks = (count = 5) => Array.from({ length: count }).reduce((turn) => turn.then(() => {}), Promise.resolve());

describe("network.js", () => {
  it("tries again what passes, and nothing else", () => {
    const later = [answered(408), answered(423), answered(429, "upload_rate", 7), answered(502), answered(503), answered(504)];
    for (const error of [new Unreachable("no answer"), ...later]) assert.ok(passes(error), String(error));
    const final = [400, 401, 403, 404, 409, 410, 412, 413, 415, 429, 460, 501, 507].map((status) => answered(status));
    for (const error of [...final, new TypeError("a defect"), undefined]) assert.ok(!passes(error), String(error));
    for (const error of [answered(500), foreign(404), foreign(403)]) {
      assert.ok(passes(error, 7));
      assert.ok(!passes(error, 8));
    }
    assert.ok(passes(foreign(502), 1000));
    assert.ok(passes(foreign(429), 1000), "a proxy's, which says nothing of when");
  });

  it("names a failure by the server's word, and a proxy's by none of ours", () => {
    assert.equal(codeOf(answered(507, "store_full")), "store_full");
    assert.equal(codeOf(answered(503, "store_unavailable", 2)), "store_unavailable");
    assert.equal(codeOf(foreign(502)), "unreachable");
    assert.equal(codeOf(new Unreachable("no answer")), "unreachable");
    assert.equal(codeOf(new TypeError("a defect")), "internal");
  });

  it("waits longer each time, between one and thirty seconds, and as the server says", () => {
    const backoff = new Backoff();
    const waits = Array.from({ length: 12 }, () => backoff.next(new Unreachable("no answer")));
    waits.forEach((wait, at) => {
      const most = Math.min(30_000, 2000 * 2 ** at);
      assert.ok(wait >= Math.max(1000, most / 2) && wait <= most, `wait ${at}: ${wait}`);
    });
    assert.equal(backoff.next(answered(503, "store_unavailable", 2)), 2000);
    backoff.reset();
    assert.ok(backoff.next(new Unreachable("no answer")) <= 2000);
    assert.throws(() => backoff.next(answered(404, "not_found")), { status: 404 });
  });

  it("tries at once when the network may be back, but not before the time that the server named", async () => {
    let calls = 0;
    const fails = (error) => async () => {
      calls += 1;
      if (calls === 1) throw error;
      return calls;
    };
    const backoff = new Backoff();
    const soon = backoff.insist(fails(new Unreachable("no answer")), { waits: () => queueMicrotask(wake) });
    assert.equal(await soon, 2);
    assert.equal(backoff.failures, 0);

    calls = 0;
    const stop = new AbortController();
    const late = backoff.insist(fails(answered(503, "busy", 600)), { signal: stop.signal, waits: () => queueMicrotask(wake) });
    await ticks();
    assert.equal(calls, 1);
    stop.abort(new Error("enough"));
    await assert.rejects(late, /enough/);
    assert.equal(calls, 1);
  });

  it("a wait that was called off before it began does not begin", async () => {
    await assert.rejects(sleep(1e6, { signal: AbortSignal.abort(new Error("over")) }), /over/);
  });

  it("a watchdog barks once nothing moves, and not before", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    let now = 0;
    context.mock.method(performance, "now", () => now);
    const pass = (milliseconds) => {
      now += milliseconds;
      context.mock.timers.tick(milliseconds);
    };
    let barks = 0;
    const dog = new Watchdog(() => (barks += 1), 30_000);
    for (let step = 0; step < 10; step += 1) {
      pass(29_000);
      dog.feed();
    }
    assert.equal(barks, 0);
    pass(29_999);
    assert.equal(barks, 0);
    pass(2);
    assert.equal(barks, 1);
    dog.feed();
    pass(100_000);
    assert.equal(barks, 1);

    const woken = new Watchdog(() => (barks += 1), 30_000);
    suspect();
    pass(9000);
    woken.feed();
    pass(11_000);
    assert.equal(barks, 1, "what moved after the network changed is alive");
    wake();
    pass(11_000);
    assert.equal(barks, 1, "a look at the page changes nothing");
    woken.feed();
    suspect();
    pass(10_001);
    assert.equal(barks, 2, "what did not move is dead");
    const stopped = new Watchdog(() => (barks += 1), 30_000);
    stopped.stop();
    pass(40_000);
    assert.equal(barks, 2);
  });

  it("tells the rate of the last seconds, and what is left", () => {
    const rate = new Rate();
    assert.equal(rate.see(0, 0), 0);
    let perSecond = 0;
    for (let at = 100; at <= 20_000; at += 100) perSecond = rate.see(at * 10, at);
    assert.equal(perSecond, 10_000);
    for (let at = 20_100; at <= 40_000; at += 100) perSecond = rate.see(200_000, at);
    assert.equal(perSecond, 0);
    assert.equal(secondsLeft(5000, perSecond), null);
    assert.equal(secondsLeft(5000, 2000), 3);
    assert.equal(rate.see(100_000, 40_100), 0, "bytes that must be moved again are no negative rate");
  });
});
