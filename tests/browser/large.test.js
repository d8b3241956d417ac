import assert from "node:assert/strict";
import { join } from "node:path";

import { arrive, assertSame, give, look, MEBIBYTE, randomFile } from "./flows.js";
import { onStore } from "./harness.js";
import { Meter } from "./memory.js";

const SIZE = 2_000_000_000;
const MOST = 300 * MEBIBYTE;

onStore("embedded", "2 GB", (test) => {
  test(
    "are sent and received in a tab of less than 300 MB",
    async ({ openProfile, server, folder }) => {
      const path = await randomFile(join(folder, "huge.bin"), SIZE);
      const sender = await openProfile("sender");
      const sending = new Meter(join(folder, "sender"));
      const { link } = await give(sender, server, { files: path }, 150_000);
      const sent = await sending.stop();
      await sender.context().close();

      const page = await openProfile("recipient");
      const button = await look(page, link);
      const receiving = new Meter(join(folder, "recipient"));
      const got = await arrive(page, () => button.click(), 200_000);
      const received = await receiving.stop();
      await assertSame(got.path, path);
      const figures = Object.entries({ sent, received }).map(
        ([what, { tab, others }]) => `${what}: tab ${Math.round(tab / MEBIBYTE)} MiB, others ${Math.round(others / MEBIBYTE)} MiB`,
      );
      console.log(figures.join("; "));
      assert.ok(sent.tab < MOST && received.tab < MOST, figures.join("; "));
    },
    { timeout: 300_000 },
  );
});
