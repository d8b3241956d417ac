import assert from "node:assert/strict";

import { onBothStores } from "./harness.js";

/** Presses Tab; gives what has the focus now, and whether one can see it there. */
async function tab(page) {
  await page.keyboard.press("Tab");
  return page.evaluate(() => {
    const at = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(at);
    const box = at.getBoundingClientRect();
    const seen = box.top >= 0 && box.bottom <= innerHeight;
    return { name: at.id || at.textContent.trim(), outlined: outlineStyle !== "none" && outlineWidth !== "0px", seen };
  });
}

/** Tabs to what has the name; gives the names on the way, all of which must be seen to have the focus. */
async function tabTo(page, name) {
  const way = [];
  while (way.at(-1) !== name) {
    assert.ok(way.length < 20, `no ${name} after ${way.join(", ")}`);
    const at = await tab(page);
    assert.ok(at.outlined && at.seen, `one can't see that ${at.name} has the focus`);
    way.push(at.name);
  }
  return way;
}

/** Goes to the field of files, past all that a page without scripts has before it, and opens it. */
async function choose(page) {
  const way = await tabTo(page, "file");
  assert.deepEqual(way, ["Skip to content", "OneTimeShare", "password", "expires_in", "downloads", "note", "file"]);
  await page.keyboard.press("Space");
}

onBothStores("the keyboard alone", (test) => {
  test("sends a file", async ({ server, open }) => {
    const page = await open();
    await page.goto(`${server}/`);
    // Listened for before the way there: a key pressed at once can overtake the word to the browser that the chooser is ours.
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), choose(page)]);
    await chooser.setFiles({ name: "keys.txt", mimeType: "text/plain", buffer: Buffer.from("keys") });
    assert.deepEqual(await tabTo(page, "submit"), ["Send a text instead", "submit"]);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Ready to be taken." }).waitFor();
  });

  test("sends a text, and takes it", async ({ server, open }) => {
    const page = await open();
    await page.goto(`${server}/`);
    await tabTo(page, "note");
    await page.keyboard.type("by hand");
    await tabTo(page, "Send a text instead");
    await page.keyboard.press("Enter");
    await tabTo(page, "text");
    await page.keyboard.type("typed");
    await tabTo(page, "submit");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Ready to be taken." }).waitFor();

    await tabTo(page, "Open the link");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "A file for you" }).waitFor();
    assert.equal(await page.locator("blockquote").innerText(), "by hand");
    await tabTo(page, "download");
    const [file] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
    assert.equal(file.suggestedFilename(), "text.txt");
  });

  test("skips to the content", async ({ server, open }) => {
    const page = await open();
    await page.goto(`${server}/status`);
    await tab(page);
    await page.keyboard.press("Enter");
    await page.waitForURL(`${server}/status#main`);
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  });
});
