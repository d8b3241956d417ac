import assert from "node:assert/strict";

import { onStore } from "./harness.js";

/** Bytes over the wire, heads included, of the first page and all that it loads. */
const MOST = 60_000;

onStore("embedded", "the first page", (test) => {
  test("weighs little, and asks nobody else for anything", async ({ openModern, proxy }) => {
    const between = await proxy();
    const page = await openModern();
    await page.goto(`${between.address}/`, { waitUntil: "networkidle" });
    const { address } = between;
    await between.close();
    const loaded = between.requests.map(({ target, received }) => `${received} ${target}`);
    assert.ok(loaded.length >= 2, `only ${loaded} of ${address}`);
    assert.ok(between.bytes.down <= MOST, `${between.bytes.down} bytes:\n${loaded.join("\n")}`);
  });
});
