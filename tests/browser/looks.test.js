import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import axe from "axe-core";

import { modernGallery, plainGallery } from "./gallery.js";
import { onBothStores, onStore } from "./harness.js";

/** @typedef {import("playwright-core").Page} Page */

const SCREENS = { desktop: { width: 1200, height: 800 }, phone: { width: 390, height: 844 } };
const SCHEMES = /** @type {const} */ (["light", "dark"]);
const pictures = process.env.SCREENSHOTS;
/** What the states are made of: refused connections and passwords. */
const EXPECTED = [/Failed to load resource/];

/** What a person could stumble over. @param {Page} page @param {string} name of the page @returns {Promise<string[]>} */
async function flawsOf(page, name) {
  const flaws = [];
  await page.evaluate(axe.source);
  for (const [screen, viewport] of Object.entries(SCREENS)) {
    await page.setViewportSize(viewport);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    if (wide) flaws.push(`${name} on ${screen}: must be scrolled sideways`);
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme });
      // All but the contrast is the same in every scheme.
      const runOnly = colorScheme === SCHEMES[0] ? undefined : ["color-contrast"];
      const { violations } = await page.evaluate((runOnly) => globalThis.axe.run({ resultTypes: ["violations"], runOnly }), runOnly);
      for (const { id, help, nodes } of violations) {
        flaws.push(`${name} on ${screen}, ${colorScheme}: ${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
      }
    }
  }
  return flaws;
}

/** @param {Page} page @param {string} name of the pictures */
async function picture(page, name) {
  await mkdir(String(pictures), { recursive: true });
  for (const [screen, viewport] of Object.entries(SCREENS)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(String(pictures), `${name}-${screen}-${colorScheme}.png`), fullPage: true });
    }
  }
}

/** Has a browser with JavaScript, which the checker needs, show what one without it does. @param {Page} page */
async function withoutScripts(page) {
  await page.route("**/*", async (route) => {
    if (!route.request().isNavigationRequest()) return route.continue();
    const response = await route.fetch({ maxRedirects: 0 });
    const body = (await response.text()).replace(/<script\b.*?<\/script>|<link rel="modulepreload".*?>|<\/?noscript>/gs, "");
    return route.fulfill({ response, body });
  });
}

/** Contrast of an element's text (WCAG 2.2, 1.4.3), once it has changed its colours. Runs in the page. @param {Element} element */
async function contrastOf(element) {
  await Promise.all(element.getAnimations().map((animation) => animation.finished));
  const parts = (/** @type {string} */ colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = (/** @type {number[]} */ colour) => {
    const [red, green, blue] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  let behind = element;
  while (behind.parentElement && parts(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const both = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map((colour) => luminance(parts(colour)));
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}

/** The checker's own needs; its waiting for animations would be ours. */
const CHECKED = { bypassCSP: true, reducedMotion: /** @type {const} */ ("reduce") };

onBothStores("every page without JavaScript", (test, store) => {
  test("is accessible and fits, in light and dark, on a desk and on a phone", async ({ server, openModern }) => {
    const flaws = [];
    for (const [name, visit] of await plainGallery(server)) {
      const page = await openModern(CHECKED);
      await withoutScripts(page);
      await visit(page);
      flaws.push(...(await flawsOf(page, name)));
      await page.context().close();
    }
    assert.deepEqual(flaws, []);
  });

  if (!pictures || store !== "embedded") return;
  test("has its picture taken", async ({ server, open }) => {
    for (const [name, visit] of await plainGallery(server)) {
      const page = await open({ reducedMotion: "reduce" });
      await visit(page);
      await picture(page, `plain-${name}`);
    }
  });
});

onStore("embedded", "every page with JavaScript", (test) => {
  test(
    "is accessible and fits, in light and dark, on a desk and on a phone",
    async (scene) => {
      scene.watch.allow(...EXPECTED);
      const flaws = [];
      for (const [name, visit] of await modernGallery(scene)) {
        const page = await scene.openModern(CHECKED);
        await visit(page).catch((error) => assert.fail(`${name}: ${error}`));
        flaws.push(...(await flawsOf(page, name)));
        await page.context().close();
      }
      assert.deepEqual(flaws, []);
    },
    { timeout: 300_000 },
  );

  test("has buttons that stay legible under the pointer", async (scene) => {
    scene.watch.allow(...EXPECTED);
    const states = ["send-chosen", "result-password", "shares", "receive-locked", "arrived-many", "receipt-revoke"];
    const gallery = Object.fromEntries(await modernGallery(scene));
    const flaws = [];
    for (const state of states) {
      const page = await scene.openModern({ reducedMotion: "reduce" });
      await gallery[state](page);
      let legible = 0;
      for (const button of await page.locator("button, a.button, label.button").filter({ visible: true }).elementHandles()) {
        // The page lives on meanwhile: what it took away nobody points at.
        if (!(await button.isVisible())) continue;
        // The field that takes drops lies over its own label.
        await button.hover({ force: true });
        const contrast = await button.evaluate(contrastOf);
        if (contrast < 4.5) flaws.push(`${state}: ${await button.evaluate((/** @type {Element} */ element) => element.outerHTML)}: ${contrast.toFixed(1)}`);
        else legible += 1;
      }
      assert.notEqual(legible, 0, state);
      await page.context().close();
    }
    assert.deepEqual(flaws, []);
  });

  for (const locale of pictures ? ["en-GB", "de-DE"] : []) {
    test(`has its picture taken, ${locale}`, async (scene) => {
      scene.watch.allow(...EXPECTED);
      for (const [name, visit] of await modernGallery(scene)) {
        const page = await scene.openModern({ reducedMotion: "reduce", locale });
        await visit(page);
        await picture(page, `${locale.slice(0, 2)}-${name}`);
        await page.context().close();
      }
    }, { timeout: 600_000 });
  }
});
