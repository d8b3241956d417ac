// Browsers of some years ago: what they lack, the pages do without.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";

import { give, look, arrive, MEBIBYTE } from "./flows.js";
import { onStore } from "./harness.js";

onStore("embedded", "a browser without AbortSignal.any", (test) => {
  test("sends, and receives, over connections that break", async ({ openModern, proxy, watch }) => {
    watch.allow(/net::ERR_|Failed to load resource/);
    const content = randomBytes(6 * MEBIBYTE);
    const between = await proxy();
    /** Pages and workers, each with a realm of its own, have the one module that would use it. */
    const dated = async () => {
      const page = await openModern();
      await page.context().route("**/lib/abort.js", async (route) => {
        const answer = await route.fetch();
        await route.fulfill({ response: answer, body: `delete AbortSignal.any;\n${await answer.text()}` });
      });
      return page;
    };
    const sender = await dated();
    void between.cutAfter(3 * MEBIBYTE, "up");
    const files = { name: "a.bin", mimeType: "application/octet-stream", buffer: content };
    const { link } = await give(sender, between.address, { files });
    assert.equal(await sender.evaluate(() => "any" in AbortSignal), false);

    const recipient = await dated();
    const button = await look(recipient, link);
    void between.cutAfter(3 * MEBIBYTE, "down");
    const got = await arrive(recipient, () => button.click());
    assert.ok((await readFile(got.path)).equals(content));
  });
});
