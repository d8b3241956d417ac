// Chromium over its debugging pipe, with nothing listening in: what observes requests costs as much as what is measured.

import { spawn } from "node:child_process";
import { once } from "node:events";

/**
 * @param {string} profile a folder: contexts without one keep files in memory
 * @returns {Promise<{ pid: number, send: (method: string, params?: object, session?: string) => Promise<any>, kill: () => void, stop: () => Promise<void> }>}
 */
export async function startChromium(profile) {
  const chromium = spawn(
    process.env.CHROMIUM || "/usr/bin/chromium",
    [
      "--headless=new",
      "--no-sandbox", ...(process.env.CHROMIUM_FLAGS ?? "").split(" ").filter(Boolean),
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--remote-debugging-pipe",
      `--user-data-dir=${profile}`,
      "about:blank",
    ],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
  );
  const input = /** @type {import("node:stream").Writable} */ (chromium.stdio[3]);
  const output = /** @type {import("node:stream").Readable} */ (chromium.stdio[4]);
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  const waiting = new Map();
  let pending = "";
  output.setEncoding("utf8").on("data", (piece) => {
    const messages = (pending + piece).split("\0");
    pending = messages.pop() ?? "";
    for (const { id, error, result } of messages.map((message) => JSON.parse(message))) {
      if (error) waiting.get(id)?.reject(new Error(error.message));
      else waiting.get(id)?.resolve(result);
      waiting.delete(id);
    }
  });
  chromium.once("exit", () => waiting.forEach(({ reject }) => reject(new Error("Chromium ended"))));
  let last = 0;
  const send = (method, params = {}, sessionId) =>
    new Promise((resolve, reject) => {
      waiting.set((last += 1), { resolve, reject });
      input.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
    });
  const stop = async () => {
    const gone = once(chromium, "exit");
    chromium.kill();
    await gone;
  };
  await send("Browser.getVersion");
  return { pid: chromium.pid ?? 0, send, kill: () => chromium.kill(), stop };
}

/** A page at `address`, in which code of any origin may run: what is measured is no page of ours. */
export async function openPage(chromium, address) {
  const { targetId } = await chromium.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await chromium.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => chromium.send(method, params, sessionId);
  await send("Page.setBypassCSP", { enabled: true });
  await send("Page.navigate", { url: address });
  /** @param {string} expression a promise of JSON @returns {Promise<any>} */
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  while ((await evaluate("document.readyState + location.origin")) !== `complete${new URL(address).origin}`);
  /** Gives the page's only file input the file at `path`. */
  const choose = async (path) => {
    const { root } = await send("DOM.getDocument");
    const { nodeId } = await send("DOM.querySelector", { nodeId: root.nodeId, selector: "input[type=file]" });
    await send("DOM.setFileInputFiles", { nodeId, files: [path] });
  };
  return { evaluate, choose };
}
