import assert from "node:assert/strict";
import { join } from "node:path";

import { onStore } from "./harness.js";
import { Meter } from "./memory.js";

const MEBIBYTE = 1024 * 1024;

onStore("embedded", "the meter", (test) => {
  test("sees what a tab takes, in a worker too", async ({ server, folder, openProfile }) => {
    const page = await openProfile("profile", { bypassCSP: true });
    await page.goto(`${server}/`);
    const meter = new Meter(join(folder, "profile"));
    await page.evaluate(() => void (globalThis.kept = new Uint8Array(200 * 1024 * 1024).fill(1)));
    const first = await meter.stop();
    assert.ok(first.tab > 200 * MEBIBYTE && first.tab < 400 * MEBIBYTE, String(first.tab / MEBIBYTE));
    assert.ok(first.others > 20 * MEBIBYTE);

    const again = new Meter(join(folder, "profile"));
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          const script = "globalThis.kept = new Uint8Array(200 * 1024 * 1024).fill(1); postMessage(1);";
          const worker = new Worker(URL.createObjectURL(new Blob([script])));
          worker.onmessage = () => resolve(null);
        }),
    );
    const second = await again.stop();
    assert.ok(second.tab > first.tab + 190 * MEBIBYTE, String(second.tab / MEBIBYTE));
  });
});
