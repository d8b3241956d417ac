// Measures, in one run and one Chromium, what a browser can do with a share's bytes, what the shapes of a pipeline cost, and
// what the pages make of it.
//
//   node tests/browser/bench.js [WORD]...     SIZE=1024 (MiB) RUNS=5 ONETIMESHARE_BIN=target/release/onetimeshare
//
// Only what has a WORD in its name is run, or is called so. Everything lies in /dev/shm: there is no disk in these figures. Rounds are
// interleaved, the first only warms up. Beside the speed stands the processor time of all of Chromium and the server: where
// there are few cores, it decides.

import { execFileSync, spawn } from "node:child_process";
import { randomBytes, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { openPage, startChromium } from "./bench/chromium.js";
import { BARE, table } from "./bench/table.js";

const MIB = 2 ** 20;
const bytes = Number(process.env.SIZE ?? 1024) * MIB;
const runs = Number(process.env.RUNS ?? 5);
const words = process.argv.slice(2);
const repository = fileURLToPath(new URL("../..", import.meta.url));
const binary = resolve(repository, process.env.ONETIMESHARE_BIN || "target/release/onetimeshare");
const rows = table(bytes);
const isWhole = (word) => rows.some(({ name }) => name === word);
const matches = (name) => words.some((word) => (isWhole(word) ? name === word : name.includes(word)));
const loops = words.length === 0 ? rows : rows.filter(({ name }) => matches(name));

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
const folder = mkdtempSync("/dev/shm/onetimeshare-bench-");
process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 9 }));
const file = openSync(`${folder}/file`, "w");
for (let at = 0; at < bytes; at += 16 * MIB) writeSync(file, randomFillSync(Buffer.alloc(Math.min(16 * MIB, bytes - at))));
closeSync(file);

const room = ["--max-storage", `${6 * bytes + 2 ** 30}`, "--max-size", `${2 * bytes}`, "--upload-rate", "1000000"];
const server = spawn(binary, ["serve", "--listen", "127.0.0.1:0", "--data-dir", `${folder}/data`, ...room], {
  env: { PATH: process.env.PATH },
  stdio: ["ignore", "pipe", "ignore"],
});
process.once("exit", () => server.kill());
const [greeting] = await once(createInterface(server.stdout), "line");
const address = greeting.replace("listening on ", "");

const chromium = await startChromium(`${folder}/profile`);
process.once("exit", () => chromium.kill());
const page = await openPage(chromium, `${address}/healthz`);
const read = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const code = [`const ORIGIN = "${address}";`, read("../../static/lib/seal.js"), read("bench/loops.js")].join("\n");
const blob = `new Blob([${JSON.stringify(code)}], { type: "text/javascript" })`;
await page.evaluate(`{ const LOOPS = URL.createObjectURL(${blob});\n${read("bench/page.js")}\n}; true`);
await page.choose(`${folder}/file`);
const bench = (verb, asked) => page.evaluate(`bench.${verb}(${JSON.stringify(asked)})`);

/** Shares that stay: one that the loops sealed, one of the page's. */
const shares = {
  loop: async () => (await bench("loop", { name: "upload", options: { file: true, revoked: false } })).result,
  receive: async () => (await bench("send", { downloads: 100 })).share,
};
const made = new Map();
const share = async (kind) => made.get(kind) ?? made.set(kind, await shares[kind]()).get(kind);

/** A claim of its own for each reading: it can be read twice only. */
async function claim() {
  const [id, claim] = [await share("loop"), randomBytes(16).toString("base64url")];
  const answer = await fetch(`${address}/api/v1/shares/${id}/claims`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ proof: Buffer.alloc(32).toString("base64url"), claim }),
  });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  return { address: `${address}/api/v1/shares/${id}/claims/${claim}`, size: (await answer.json()).size };
}

const tick = Number(execFileSync("getconf", ["CLK_TCK"]));
/** Seconds of processor time so far: of the server, and of Chromium's processes by their type. */
function processor() {
  const parents = new Map();
  const times = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number)) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const type = /--utility-sub-type=(\w+)/.exec(command)?.[1] ?? /--type=([\w-]+)/.exec(command)?.[1] ?? "browser";
      parents.set(pid, Number(fields[1]));
      times.set(pid, [pid === server.pid ? "server" : type, (Number(fields[11]) + Number(fields[12])) / tick]);
    } catch {
      // It ended meanwhile.
    }
  }
  const isOurs = (pid) => pid === server.pid || pid === chromium.pid || (pid > 1 && isOurs(parents.get(pid) ?? 0));
  const busy = { server: 0, browser: 0, network: 0, renderer: 0 };
  for (const [pid, [type, time]] of times) if (type in busy && isOurs(pid)) busy[type] += time;
  return Object.values(busy);
}

/** @type {Map<string, { speed: number, busy: number[] }[]>} */
const results = new Map(loops.map(({ name }) => [name, []]));
for (let round = 0; round <= runs; round += 1) {
  for (const { name, verb = "loop", loop, options, workers } of loops) {
    const claimed = loop === "download" ? await claim() : {};
    const shared = verb === "receive" ? { share: await share(verb) } : {};
    const before = processor();
    const { seconds } = await bench(verb, { name: loop, options: { ...options, ...claimed }, workers, ...shared });
    const busy = processor().map((after, i) => ((after - before[i]) / bytes) * 2 ** 30);
    await bench("tidy", {});
    if (round > 0) results.get(name)?.push({ speed: bytes / seconds / 1e6, busy });
    process.stderr.write(".");
  }
  process.stderr.write("\n");
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const speeds = new Map();
console.log(`${bytes / MIB} MiB, ${runs} rounds${" ".repeat(34)}MB/s  (least–most)   CPU s/GiB: server browser network renderer`);
for (const [name, rounds] of results) {
  const all = rounds.map(({ speed }) => speed);
  speeds.set(name, median(all));
  const range = `${Math.min(...all).toFixed(0)}–${Math.max(...all).toFixed(0)}`;
  const busy = rounds[0].busy.map((_, i) => median(rounds.map(({ busy }) => busy[i])));
  const sum = busy.reduce((sum, part) => sum + part, 0);
  const figures = [sum, ...busy].map((part) => part.toFixed(2).padStart(7)).join("");
  console.log(`${name.padEnd(50)}${speeds.get(name).toFixed(0).padStart(7)}  ${range.padStart(12)}  ${figures}`);
}
for (const [name, bare] of Object.entries(BARE)) {
  const share = speeds.get(name) / speeds.get(bare);
  if (share) console.log(`${name} is ${share.toFixed(2)} of ${bare}`);
}
await chromium.stop();
process.exit();
