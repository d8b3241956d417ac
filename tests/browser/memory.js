// How much memory a browser's processes take, as the system counts it.

import { readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";

/** @typedef {{ tab: number, browser: number }} Memory in bytes: of the largest renderer, and of all other processes together */

/**
 * Watches the memory of a browser whose only busy tab is the one that is measured.
 *
 * Counted is the proportional set size: pages that several processes share count in parts.
 */
export class Meter {
  /** The most that was seen. @type {Memory} */
  peak = { tab: 0, browser: 0 };
  running = true;

  /** @param {import("playwright-core").CDPSession} session of the browser */
  constructor(session) {
    this.session = session;
    this.done = this.run();
  }

  /** @param {import("playwright-core").Page} page */
  static async on(page) {
    const browser = page.context().browser();
    if (!browser) throw new Error("a browser with a profile has no session of its own");
    return new Meter(await browser.newBrowserCDPSession());
  }

  async run() {
    while (this.running) {
      await this.sample();
      await pause(100);
    }
  }

  async sample() {
    const { tab, browser } = await this.look();
    this.peak = { tab: Math.max(this.peak.tab, tab), browser: Math.max(this.peak.browser, browser) };
  }

  /** @returns {Promise<Memory>} */
  async look() {
    const { processInfo } = await this.session.send("SystemInfo.getProcessInfo");
    const memory = { tab: 0, browser: 0 };
    for (const { type, id } of processInfo) {
      const size = await proportionalSetSize(id);
      if (type === "renderer") memory.tab = Math.max(memory.tab, size);
      else memory.browser += size;
    }
    return memory;
  }

  /** Ends, and gives the most that was seen. */
  async stop() {
    this.running = false;
    await this.done;
    await this.sample();
    await this.session.detach();
    return this.peak;
  }
}

/** @param {number} id of a process; 0 bytes if it is gone */
async function proportionalSetSize(id) {
  const rollup = await readFile(`/proc/${id}/smaps_rollup`, "utf8").catch(() => "");
  return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024;
}
