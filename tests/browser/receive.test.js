import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { download, onBothStores, sent, stamp } from "./harness.js";

onBothStores("the plain link", (test) => {
  test("costs nothing to look at, however often and with whatever browser", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["once.txt", "once"]]);
    const modern = await open({ javaScriptEnabled: true });
    const pages = [share.plain_link, share.link, share.receipt, `${server}/s/${share.id}`, `${server}/r/${share.id}`];
    for (const visitor of [page, modern]) {
      for (const address of [...pages, ...pages]) {
        const answer = await visitor.goto("about:blank").then(() => visitor.goto(address));
        assert.equal(answer.status(), 200, address);
        assert.equal((await visitor.request.head(address)).status(), 200, address);
      }
    }
    assert.equal(await stamp(page, share.receipt), "WAITING");
    assert.match(await page.locator("main").innerText(), /0 of 1 taken/);

    await page.goto(share.plain_link);
    assert.equal(await readFile((await download(page)).path, "utf8"), "once");
  });

  test("takes a double click and an impatient third one for one claim", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["thrice.txt", "once only"]], { downloads: "3" });
    const claims = [];
    page.on("request", (request) => request.method() === "POST" && claims.push(request.postData()));
    await page.goto(share.plain_link);
    const button = page.getByRole("button", { name: "Download" });
    // Chromium may make one request of a double click: the third is a request of its own.
    for (const press of [() => button.dblclick(), () => button.click()]) {
      assert.equal(await readFile((await download(page, press)).path, "utf8"), "once only");
    }
    assert.ok(claims.length >= 2 && claims.every((claim) => claim === claims[0]), claims.join(", "));
    await stamp(page, share.receipt);
    assert.match(await page.locator("main").innerText(), /1 of 3 taken/);
  });

  test("gives a page that was opened in two tabs to the first of them", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["first.txt", "first"]]);
    const other = await open();
    await page.goto(share.plain_link);
    await other.goto(share.plain_link);
    await download(page);
    const button = other.getByRole("button", { name: "Download" });
    const [answer] = await Promise.all([other.waitForResponse(share.plain_link), button.click()]);
    assert.equal(answer.status(), 410);
    assert.equal(await other.getByRole("heading", { level: 1 }).innerText(), "Already taken");
  });

  test("shows markup, wrong directions and long names as what they are", async ({ server, open }) => {
    const page = await open();
    const names = ["<img src=x onerror=alert(1)>.txt", "photo\u202egpj.exe", `${"n".repeat(200)}.txt`];
    const share = await sent(server, names.map((name) => [name, "x"]), { note: "</blockquote><script>alert(1)</script>" });
    await page.goto(share.plain_link);
    const shown = await page.locator(".files .name").allInnerTexts();
    assert.equal(shown.length, 3);
    assert.ok(!shown.join().includes("\u202e"), shown[1]);
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.equal(await page.locator("blockquote").innerText(), "</blockquote><script>alert(1)</script>");
    await page.setViewportSize({ width: 320, height: 640 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(overflow, 0, "the page must be scrolled sideways");
  });
});

onBothStores("a password", (test) => {
  test("is asked for; a wrong one shows at the field and costs nothing; the right one downloads", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["geheim 🔒.txt", "secret"]], { password: "Mähne 7", note: "a note" });
    await page.goto(share.plain_link);
    const field = page.getByLabel("Password");
    const text = await page.locator("main").innerText();
    assert.ok(!text.includes("geheim") && !text.includes("a note"), "the locked page tells too much");
    assert.equal(await field.getAttribute("aria-invalid"), null);

    await field.fill("wrong");
    const button = page.getByRole("button", { name: "Download" });
    const [answer] = await Promise.all([page.waitForResponse(share.plain_link), button.click()]);
    assert.equal(answer.status(), 403);
    await page.getByText("That password is wrong.").waitFor();
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    const described = await field.getAttribute("aria-describedby");
    assert.match(await page.locator(`[id="${described}"]`).innerText(), /That password is wrong\. The file is still there/);
    assert.equal(await field.inputValue(), "");
    assert.ok(await field.evaluate((input) => input === document.activeElement), "the field has no focus");

    await field.fill("Mähne 7");
    const got = await download(page);
    assert.equal(got.name, "geheim 🔒.txt");
    assert.equal(await readFile(got.path, "utf8"), "secret");

    await stamp(page, share.receipt);
    assert.match(await page.locator("main").innerText(), /1 of 1 taken[\s\S]*Wrong password once/);
  });

  test("that was set with the form protects what is sent", async ({ server, open }) => {
    const page = await open();
    await page.goto(`${server}/`);
    await page.getByLabel("Password").fill("open sesame");
    await page.getByLabel("Files").setInputFiles({ name: "cave.txt", mimeType: "text/plain", buffer: Buffer.from("gold") });
    await page.getByRole("button", { name: "Send" }).click();
    assert.match(await page.locator(".facts").innerText(), /Password\s+Needed/);
    await page.goto(await page.getByLabel("Link", { exact: true }).inputValue());
    await page.getByLabel("Password").fill("open sesame");
    const got = await download(page, () => page.keyboard.press("Enter"));
    assert.equal(await readFile(got.path, "utf8"), "gold");
  });

  test("that is left empty is not sent at all", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["a.txt", "a"]], { password: "x" });
    await page.goto(share.plain_link);
    const posts = [];
    page.on("request", (request) => request.method() === "POST" && posts.push(request.url()));
    await page.getByRole("button", { name: "Download" }).click();
    assert.ok(await page.getByLabel("Password").evaluate((input) => input.matches(":invalid")));
    assert.deepEqual(posts, []);
  });
});

onBothStores("the receipt", (test) => {
  test("revokes, and the link is withdrawn", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["regret.txt", "regret"]]);
    assert.equal(await stamp(page, share.receipt), "WAITING");
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.locator('[data-state="revoked"]').waitFor();
    assert.equal(page.url(), share.receipt);
    assert.equal(await page.locator("#state").innerText(), "REVOKED");
    assert.equal(await page.getByRole("button", { name: "Revoke" }).count(), 0);

    const answer = await page.goto(share.plain_link);
    assert.equal(answer.status(), 410);
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Withdrawn");
  });

  test("that was opened too early says that there is nothing left to revoke", async ({ server, open }) => {
    const page = await open();
    const share = await sent(server, [["late.txt", "late"]]);
    await page.goto(share.receipt);
    const recipient = await open();
    await recipient.goto(share.plain_link);
    await download(recipient);
    const button = page.getByRole("button", { name: "Revoke" });
    const [answer] = await Promise.all([page.waitForResponse(share.receipt), button.click()]);
    assert.equal(answer.status(), 409);
    assert.match(await page.locator("main").innerText(), /there is nothing left to revoke/);
  });
});
