// How much memory a browser's processes take, as the system counts it.

import { readdir, readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";

/** @typedef {{ tab: number, others: number }} Memory in bytes: of the largest renderer, and of all other processes together */
/** @typedef {{ id: number, parent: number, command: string }} Process */

/**
 * Watches a browser whose only busy tab is the one that is measured, until `stop`.
 *
 * Counted is the proportional set size: pages that several processes share count in parts.
 */
export class Meter {
  /** The most that was seen. @type {Memory} */
  peak = { tab: 0, others: 0 };
  running = true;

  /** @param {string} profile the folder with the browser's profile, by which its processes are known */
  constructor(profile) {
    this.profile = profile;
    this.done = this.run();
  }

  async run() {
    while (this.running) {
      await this.sample();
      await pause(100);
    }
  }

  async sample() {
    const { tab, others } = await memoryOf(this.profile);
    this.peak = { tab: Math.max(this.peak.tab, tab), others: Math.max(this.peak.others, others) };
  }

  /** Ends, and gives the most that was seen. */
  async stop() {
    this.running = false;
    await this.done;
    await this.sample();
    if (this.peak.tab === 0) throw new Error(`no browser with the profile ${this.profile}`);
    return this.peak;
  }
}

/** @param {string} profile @returns {Promise<Memory>} */
async function memoryOf(profile) {
  const memory = { tab: 0, others: 0 };
  for (const { id, command } of family(await processes(), `--user-data-dir=${profile}`)) {
    const size = await proportionalSetSize(id);
    if (command.includes("--type=renderer")) memory.tab = Math.max(memory.tab, size);
    else memory.others += size;
  }
  return memory;
}

/** Processes whose command has the word, and all that descend from them. @param {Process[]} all @param {string} word */
function family(all, word) {
  const members = new Set(all.filter(({ command }) => command.split("\0").includes(word)));
  // Members that are found are visited, too.
  for (const member of members) {
    for (const process of all) if (process.parent === member.id) members.add(process);
  }
  return members;
}

/** @returns {Promise<Process[]>} */
async function processes() {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    ids.map(async (id) => {
      // A process may end at any moment.
      const [status, command] = await Promise.all(
        ["status", "cmdline"].map((file) => readFile(`/proc/${id}/${file}`, "utf8").catch(() => "")),
      );
      return { id: Number(id), parent: Number(/^PPid:\s+(\d+)/m.exec(status)?.[1] ?? 0), command };
    }),
  );
  return found.filter(({ command }) => command !== "");
}

/** @param {number} id */
async function proportionalSetSize(id) {
  const rollup = await readFile(`/proc/${id}/smaps_rollup`, "utf8").catch(() => "");
  return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024;
}
