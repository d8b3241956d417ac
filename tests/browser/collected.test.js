import assert from "node:assert/strict";
import { join } from "node:path";

import { assertSame, give, MEBIBYTE, randomFile, take } from "./flows.js";
import { onStore } from "./harness.js";

// What waits for a stream, in a worker that nothing else wakes, lives as long as something reachable holds that stream.
// Chromium collects a file's that only a pending read holds, and then the transfer stops for ever, without an error.
onStore("embedded", "while memory is collected all the time", (test) => {
  test("go an upload and a download", async ({ openProfile, server, folder }) => {
    const flags = ["--no-sandbox", "--disable-background-networking", "--js-flags=--expose-gc"];
    const page = await openProfile("profile", /** @type {any} */ ({ args: flags }));
    let collected = 0;
    page.on("worker", (worker) => {
      const collect = () =>
        worker.evaluate("gc()").then(
          () => {
            collected += 1;
            return collect();
          },
          // The worker has ended.
          () => {},
        );
      void collect();
    });
    const path = await randomFile(join(folder, "large.bin"), 64 * MEBIBYTE);
    const { link } = await give(page, server, { files: path });
    assert.ok(collected > 10, `${collected}`);
    collected = 0;
    await assertSame((await take(page, link)).path, path);
    assert.ok(collected > 10, `${collected}`);
  });
});
