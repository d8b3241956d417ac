import assert from "node:assert/strict";
import { join } from "node:path";

import { arrive, assertSame, give, look, MEBIBYTE, randomFile, rangeOf, reads, REFUSED, stamped } from "./flows.js";
import { onBothStores } from "./harness.js";

/** @typedef {import("./proxy.js").Answer} Answer */

const SIZE = 3 * MEBIBYTE;

/** Where the byte lies in the sealed content that is flipped: in the last record but one. */
const AT = 2_500_000;

/** @type {Record<string, { change: (answer: Answer, from: number) => Answer, said: RegExp }>} */
const DAMAGES = {
  "a flipped byte": {
    change(answer, from) {
      if (AT >= from) answer.body[AT - from] ^= 1;
      return answer;
    },
    said: /What arrived is not what was sent/,
  },
  "a missing tail": {
    change: (answer) => ({ ...answer, body: answer.body.subarray(0, -1000) }),
    said: /What arrived is not whole/,
  },
  "a missing last record": {
    change: (answer) => ({ ...answer, body: answer.body.subarray(0, -(answer.body.length % 262_144 || 262_144)) }),
    said: /What arrived is not whole/,
  },
};

/** @param {import("./proxy.js").Request} request */
const isRead = (request) => reads([request]).length === 1;

onBothStores("a stream with", (test) => {
  for (const [damage, { change, said }] of Object.entries(DAMAGES)) {
    test(`${damage} is noticed, nothing is saved, the claim is kept, and going on works`, async ({ openModern, proxy, folder, watch }) => {
      watch.allow(REFUSED);
      const between = await proxy();
      const path = await randomFile(join(folder, "whole.bin"), SIZE);
      const { link, receipt } = await give(await openModern(), between.address, { files: path });
      const page = await openModern();
      const button = await look(page, link);
      const downloads = [];
      page.on("download", (download) => downloads.push(download.url()));
      const end = between.tamper(isRead, (answer) => {
        const from = Number(/^bytes (\d+)-/.exec(answer.headers["content-range"] ?? "bytes 0-")?.[1]);
        return change(answer, from);
      });
      await button.click();
      await page.getByRole("heading", { name: "It stopped" }).waitFor();
      assert.match(await page.locator("#problem").innerText(), said);
      assert.deepEqual(downloads, []);
      const sender = await openModern();
      await stamped(sender, receipt, /^On its way$/i);

      end();
      const before = reads(between.requests).length;
      const got = await arrive(page, () => page.getByRole("button", { name: "Go on" }).click());
      await assertSame(got.path, path);
      const [again] = reads(between.requests).slice(before).map(rangeOf);
      assert.ok(again > 0, "what was verified was fetched again");
      await stamped(sender, receipt, /^Arrived$/i);
    });
  }

  test("another share's bytes is noticed", async ({ openModern, proxy, folder, watch }) => {
      watch.allow(REFUSED);
    const between = await proxy();
    const [path, other] = await Promise.all(["one.bin", "two.bin"].map((name) => randomFile(join(folder, name), 1000)));
    const { link } = await give(await openModern(), between.address, { files: path });
    const swapped = await give(await openModern(), between.address, { files: other });
    /** @type {Buffer | null} */
    let bytes = null;
    between.tamper(isRead, (answer) => {
      bytes ??= answer.body;
      return { ...answer, body: bytes };
    });
    const first = await openModern();
    const button = await look(first, link);
    await arrive(first, () => button.click());
    const second = await openModern();
    await (await look(second, swapped.link)).click();
    await second.getByRole("heading", { name: "It stopped" }).waitFor();
    assert.match(await second.locator("#problem").innerText(), /What arrived is not what was sent/);
  });

  test("a changed manifest is not shown", async ({ openModern, proxy, folder }) => {
    const between = await proxy();
    const path = await randomFile(join(folder, "one.bin"), 1000);
    const { link } = await give(await openModern(), between.address, { files: path });
    between.tamper(
      ({ method, target }) => method === "GET" && /^\/api\/v1\/shares\/\w+$/.test(target),
      (answer) => {
        const peek = JSON.parse(answer.body.toString());
        if (!peek.manifest) return answer;
        const manifest = Buffer.from(peek.manifest, "base64url");
        manifest[manifest.length - 3] ^= 1;
        return { ...answer, body: Buffer.from(JSON.stringify({ ...peek, manifest: manifest.toString("base64url") })) };
      },
    );
    const page = await openModern();
    await page.goto(link);
    await page.getByRole("heading", { name: "It can’t be shown" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Download", exact: true }).count(), 0);
  });
});
