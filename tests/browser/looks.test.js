import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import axe from "axe-core";

import { gallery } from "./gallery.js";
import { onBothStores } from "./harness.js";

const SCREENS = { desktop: { width: 1200, height: 800 }, phone: { width: 390, height: 844 } };
const SCHEMES = /** @type {const} */ (["light", "dark"]);
const pictures = process.env.SCREENSHOTS;

onBothStores("every page", (test, store) => {
  test("is accessible and fits, in light and dark, on a desk and on a phone", async ({ server, open }) => {
    // The checker is a script, which neither the policy nor the pages' own tests allow.
    const page = await open({ javaScriptEnabled: true, bypassCSP: true, reducedMotion: "reduce" });
    const flaws = [];
    for (const [name, visit] of await gallery(server)) {
      await visit(page);
      await page.evaluate(axe.source);
      for (const [screen, viewport] of Object.entries(SCREENS)) {
        await page.setViewportSize(viewport);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
        if (wide) flaws.push(`${name} on ${screen}: must be scrolled sideways`);
        for (const colorScheme of SCHEMES) {
          await page.emulateMedia({ colorScheme });
          const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
          for (const { id, help, nodes } of violations) {
            flaws.push(`${name} on ${screen}, ${colorScheme}: ${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
          }
        }
      }
    }
    assert.deepEqual(flaws, []);
  });

  if (!pictures || store !== "embedded") return;
  test("has its picture taken", async ({ server, open }) => {
    const page = await open({ reducedMotion: "reduce" });
    await mkdir(pictures, { recursive: true });
    for (const [name, visit] of await gallery(server)) {
      await page.setViewportSize(SCREENS.desktop);
      await visit(page);
      for (const [screen, viewport] of Object.entries(SCREENS)) {
        await page.setViewportSize(viewport);
        for (const colorScheme of SCHEMES) {
          await page.emulateMedia({ colorScheme });
          await page.screenshot({ path: join(pictures, `${name}-${screen}-${colorScheme}.png`), fullPage: true });
        }
      }
    }
  });
});
