import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const modules = resolve(here, "../../static");
const tsc = join(createRequire(import.meta.url).resolve("typescript/package.json"), "../bin/tsc");

/** Checks one project; gives the files that it looked at. @param {string} config */
function check(config) {
  const { stdout, stderr, status } = spawnSync(process.execPath, [tsc, "-p", config, "--listFiles"], { cwd: here, encoding: "utf8" });
  const lines = stdout.split("\n").filter((line) => line !== "");
  const flaws = lines.filter((line) => !/^\/[^(]*$/.test(line));
  assert.ok(status === 0, [...flaws, stderr].join("\n"));
  return lines;
}

describe("the types", () => {
  it("hold in the pages and in the workers, each module with what there is where it runs", async () => {
    const checked = new Set([...check("tsconfig.pages.json"), ...check("tsconfig.workers.json")]);
    const all = await readdir(modules, { recursive: true });
    const scripts = all.filter((name) => /\.m?js$/.test(name) && !name.startsWith("vendor/"));
    const left = scripts.filter((name) => !checked.has(join(modules, name)));
    assert.deepEqual(left, [], "modules that no page and no worker needs");
  });

  it("hold in these tests", () => {
    assert.ok(check("tsconfig.json").includes(join(here, "types.test.js")));
  });
});
