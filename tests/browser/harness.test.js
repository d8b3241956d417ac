import assert from "node:assert/strict";

import { onBothStores, sent } from "./harness.js";

onBothStores("the harness", (test) => {
  test("kills a server, and brings it back with what it kept", async ({ ownServer, open }) => {
    const page = await open();
    const server = await ownServer();
    const share = await sent(server.address, [["kept.txt", "kept"]]);
    const { address } = server;
    await server.end("SIGKILL");
    await assert.rejects(fetch(address));
    await server.start();
    assert.equal(server.address, address);
    await page.goto(share.plain_link);
    await page.getByText("kept.txt").waitFor();
    await server.restart("SIGTERM");
    await page.reload();
    await page.getByText("kept.txt").waitFor();
  });

  test("opens a browser again with all that it remembers", async ({ server, openProfile }) => {
    const page = await openProfile();
    await page.goto(`${server}/`);
    await page.evaluate(() => localStorage.setItem("remembered", "yes"));
    await page.context().close();
    const again = await openProfile();
    await again.goto(`${server}/`);
    assert.equal(await again.evaluate(() => localStorage.getItem("remembered")), "yes");
    const other = await openProfile("other");
    await other.goto(`${server}/`);
    assert.equal(await other.evaluate(() => localStorage.getItem("remembered")), null);
  });

  test("puts a proxy between", async ({ openModern, proxy }) => {
    const page = await openModern();
    const between = await proxy({ record: true });
    await page.goto(`${between.address}/status`, { waitUntil: "networkidle" });
    assert.equal(between.requests[0].target, "/status");
    await between.refuse();
    await assert.rejects(page.reload(), /ERR_CONNECTION_REFUSED/);
  });
});
