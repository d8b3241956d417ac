import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { onBothStores, PAGE_CSP, sent, Watch } from "./harness.js";

onBothStores("the pages", (test, store) => {
  test("tell how the server is, and how often that was asked", async ({ server, open }) => {
    const page = await open();
    const seen = [];
    for (const address of ["/status", "/test-redis"]) {
      assert.equal((await page.goto(server + address)).status(), 200);
      const text = await page.locator("main").innerText();
      assert.match(text, new RegExp(`All is well\\.[\\s\\S]*Store\\s+${store}\\s+Answers\\s+in \\d+\\.\\d ms`));
      seen.push(/This page was seen (.*)\./.exec(text)[1]);
    }
    assert.notEqual(seen[0], seen[1]);
  });

  test("explain errors to people, each with its status", async ({ server, open }) => {
    const page = await open();
    const token = "A".repeat(22);
    const id = "0".repeat(12) + "4" + "0".repeat(3) + "8" + "0".repeat(15);
    const missing = ["/nothing", "/no/such/page", `/s/${id}/${token}`, `/s/no-id/${token}`, `/r/${id}/${token}`, `/d/${id}/${token}/${token}`];
    for (const address of missing) {
      const answer = await page.goto(server + address);
      assert.equal(answer.status(), 404, address);
      assert.match(answer.headers()["content-type"], /^text\/html/, address);
      assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Nothing here", address);
      assert.equal(await page.title(), "Nothing here", address);
    }
    await page.getByRole("link", { name: "Go to the start" }).click();
    await page.getByRole("heading", { name: "Send a file once." }).waitFor();

    const answer = await page.goto(`${server}/share-target`);
    assert.equal(answer.status(), 405);
    assert.match(await page.locator("main").innerText(), /Not that way/);
  });

  test("say about a sealed link only that it needs a script, live or not", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["sealed.txt", "sealed"]]);
    const live = await page.goto(share.link);
    const shown = await page.locator("main").innerText();
    assert.equal(live.status(), 200);
    assert.match(shown, /This page needs JavaScript/);
    assert.ok(!(await page.content()).includes("sealed.txt"));
    const id = [...share.id].reverse().join("");
    const none = await page.goto(`${server}/s/${id.slice(0, 12)}4${id.slice(13, 16)}8${id.slice(17)}`);
    assert.equal(none.status(), 404);
    assert.equal(await page.locator("main").innerText(), shown);
    await page.goto(`${server}/r/${share.id}#${share.owner_token}`);
    assert.match(await page.locator("main").innerText(), /This page needs JavaScript/);
  });

  test("come with the headers that keep them apart from others", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["a.txt", "a"]]);
    for (const address of [`${server}/`, `${server}/status`, share.plain_link, share.link, share.receipt, `${server}/nothing`]) {
      const headers = (await page.goto(address)).headers();
      const expected = {
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "x-robots-tag": "noindex",
      };
      for (const [name, value] of Object.entries(expected)) assert.equal(headers[name], value, `${name} of ${address}`);
    }
  });

  test("have a stylesheet and an icon that load", async ({ server, open }) => {
    const page = await open();
    const loaded = [];
    page.on("response", (response) => loaded.push([new URL(response.url()).pathname, response.status()]));
    await page.goto(`${server}/`, { waitUntil: "networkidle" });
    const style = loaded.find(([path]) => path.endsWith("/app.css"));
    assert.equal(style?.[1], 200);
    const icon = await page.locator('link[rel="icon"]').getAttribute("href");
    assert.equal((await page.request.get(server + icon)).status(), 200);
  });

  test("are watched by something that sees violations and foreign requests", async ({ server, open }) => {
    const page = await open();
    await spoil(page, server, async (spoilt, watch) => {
      await spoilt.route(`${server}/`, async (route) => {
        const answer = await route.fetch();
        const more = '<p style="color: red">styled</p><img src="http://other.invalid/pixel.png"><script>1</script>';
        await route.fulfill({ response: answer, body: (await answer.text()).replace("</main>", `${more}</main>`) });
      });
      await spoilt.goto(`${server}/`);
      await assert.rejects(watch.settle());
      assert.deepEqual(watch.foreign, ["http://other.invalid/pixel.png"]);
      assert.ok(watch.complaints.filter(({ text }) => text.includes("Content Security Policy")).length >= 2);
    });
  });

  test("are watched in their workers, too", async ({ server, open }) => {
    const page = await open();
    await spoil(page, server, async (spoilt, watch) => {
      await watch.follow(spoilt);
      const csp = { "content-security-policy": PAGE_CSP, "content-type": "text/javascript" };
      const answers = {
        "/page.js": `const policy = trustedTypes.createPolicy("onetimeshare", { createScriptURL: (address) => address });
          new Worker(policy.createScriptURL("/worker.js"), { type: "module" });
          navigator.serviceWorker.register(policy.createScriptURL("/service.js"));`,
        "/worker.js": 'fetch("http://other.invalid/worker").catch(() => {}); eval("1");',
        "/service.js": 'fetch("http://other.invalid/service").catch(() => {});',
      };
      for (const [path, body] of Object.entries(answers)) {
        await spoilt.context().route(server + path, (route) => route.fulfill({ headers: csp, body }));
      }
      await spoilt.route(`${server}/`, async (route) => {
        const answer = await route.fetch();
        const body = (await answer.text()).replace("</main>", '</main><script src="/page.js"></script>');
        await route.fulfill({ response: answer, body });
      });
      await spoilt.goto(`${server}/`);
      const wanted = [/other\.invalid\/worker/, /requires 'TrustedScript'/, /other\.invalid\/service/];
      while (!wanted.every((pattern) => watch.complaints.some(({ text }) => pattern.test(text)))) await pause(50);
      await assert.rejects(watch.settle());
    });
  });
});

/**
 * Has `act` spoil a page, in a context of its own: the watch of the test would rightly fail.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} server
 * @param {(spoilt: import("playwright-core").Page, watch: Watch) => Promise<void>} act
 */
async function spoil(page, server, act) {
  await page.goto(`${server}/`);
  const watch = new Watch(server);
  const other = await browserOf(page).newContext();
  try {
    watch.over(other);
    await act(await other.newPage(), watch);
  } finally {
    await other.close();
  }
}

/** @param {import("playwright-core").Page} page */
function browserOf(page) {
  const browser = page.context().browser();
  assert.ok(browser);
  return browser;
}
