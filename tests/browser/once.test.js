import assert from "node:assert/strict";
import { join } from "node:path";

import { arrive, assertSame, give, look, MEBIBYTE, randomFile, REFUSED, stamped } from "./flows.js";
import { onBothStores } from "./harness.js";

/** A single race is won by luck. */
const ROUNDS = 3;

onBothStores("a share", (test) => {
  test("is not taken by looking, by reloading, or by a script that clicks", async ({ openModern, server, folder }) => {
    const path = await randomFile(join(folder, "once.bin"), 1000);
    const { link, receipt } = await give(await openModern(), server, { files: path });
    const page = await openModern();
    await look(page, link);
    await page.reload();
    const button = page.getByRole("button", { name: "Download", exact: true });
    await button.waitFor();
    const claims = [];
    page.on("request", (request) => request.method() === "POST" && claims.push(request.url()));
    await button.evaluate((element) => {
      /** @type {HTMLElement} */ (element).click();
      element.dispatchEvent(new MouseEvent("click", { bubbles: true }));
      element.closest("form")?.requestSubmit();
    });
    const sender = await openModern();
    await stamped(sender, receipt, /^Waiting$/i);
    assert.deepEqual(claims, []);
    await assertSame((await arrive(page, () => button.click())).path, path);
    assert.equal(claims.length, 1);
  });

  test("that two browsers take at once goes to one of them, and the other is told", async ({ openModern, server, folder, watch }) => {
    watch.allow(REFUSED);
    const path = await randomFile(join(folder, "once.bin"), MEBIBYTE);
    for (let round = 0; round < ROUNDS; round += 1) {
      const { link } = await give(await openModern(), server, { files: path });
      const pages = await Promise.all([openModern(), openModern()]);
      const buttons = await Promise.all(pages.map((page) => look(page, link)));
      const ends = await Promise.all(
        pages.map(async (page, at) => {
          await buttons[at].click();
          const heading = page.getByRole("heading", { name: /^(Arrived|Already taken)$/ });
          await heading.waitFor();
          return heading.innerText();
        }),
      );
      assert.deepEqual(ends.map((end) => end.toLowerCase()).sort(), ["already taken", "arrived"]);
      const late = pages[ends.findIndex((end) => end === "Already taken")];
      assert.match(await late.locator("main").innerText(), /It was taken[\s\S]*Was it not you\? Tell the sender/);
      assert.ok(!late.url().includes("#"), "the secret stayed in the address");
      await late.reload();
      await late.getByRole("heading", { name: "Already taken" }).waitFor();
      for (const page of pages) await page.context().close();
    }
  });

  test("that two tabs of one browser take at once is downloaded once", async ({ openModern, proxy, folder, watch }) => {
    watch.allow(REFUSED);
    const between = await proxy();
    const path = await randomFile(join(folder, "once.bin"), 20 * MEBIBYTE);
    const { link, receipt } = await give(await openModern(), between.address, { files: path });
    const first = await openModern();
    const second = await first.context().newPage();
    await watch.follow(second);
    const buttons = await Promise.all([first, second].map((page) => look(page, link)));
    // A tab waits a little for the other one to end.
    between.throttle(2 * MEBIBYTE, ["down"]);
    const arrivals = [first, second].map((page) => page.getByRole("heading", { name: "Arrived" }));
    await Promise.all(buttons.map((button) => button.click()));
    const told = [first, second].map((page) => page.getByText("Another tab of this browser is downloading it."));
    await told[0].or(arrivals[0]).first().waitFor();
    await told[1].or(arrivals[1]).first().waitFor();
    const elsewhere = (await told[0].isVisible()) ? 0 : 1;
    assert.ok(await told[elsewhere].isVisible(), "both tabs downloaded");
    between.throttle(Infinity);
    await arrivals[1 - elsewhere].waitFor();
    // It is this browser's claim: the other tab has the file now, too.
    await [first, second][elsewhere].getByRole("button", { name: "Go on" }).click();
    await arrivals[elsewhere].waitFor();
    assert.equal(new Set(between.requests.filter(({ target }) => target.endsWith("/claims")).map(({ status }) => status)).size, 1);
    await stamped(await openModern(), receipt, /^Arrived$/i);
  });
});
