// docs/clients.md, as blocks to run: what the page shows is what is tried.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

export const docs = fileURLToPath(new URL("../../docs/", import.meta.url));
/** The server of the page. */
const SERVER = "https://share.example.org";

/**
 * @typedef {object} Section
 * @property {string} title
 * @property {string} script what a person types, in bash
 * @property {Record<string, string>} files what a person saves, by name
 */

/**
 * Blocks of `sh` are typed, all others are saved under the name behind their language.
 *
 * @param {string} server stands where the page has its example
 * @returns {Promise<Section[]>} those that have a block; the first block of the page begins every script
 */
export async function sections(server) {
  const page = (await readFile(`${docs}clients.md`, "utf8")).replaceAll(SERVER, server);
  const [head, ...rest] = page.split(/^## /m);
  const first = blocks(head).map(({ text }) => text);
  const found = rest.map((text) => {
    const all = blocks(text);
    const typed = all.filter(({ language }) => language === "sh").map(({ text }) => text);
    const saved = all.filter(({ language }) => language !== "sh").map(({ name, text }) => [name, text]);
    return { title: text.split("\n", 1)[0], script: [...first, ...typed].join("\n"), files: Object.fromEntries(saved), count: all.length };
  });
  return found.filter(({ count }) => count > 0);
}

function blocks(text) {
  const found = [...text.matchAll(/^```(\w*) ?(.*)\n([^]*?)^```$/gm)];
  return found.map(([block, language, name, text]) => {
    if ((language === "sh") === (name !== "")) throw new Error(`a block is either sh or has a name to be saved under: ${block}`);
    return { language, name, text };
  });
}
