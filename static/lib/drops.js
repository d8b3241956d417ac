// Files and folders that are dropped anywhere on the page.

import { ofDrop } from "./files.js";
import { t } from "./text.js";

/**
 * Takes what is dropped, and says so while it is in the air. What is dropped on an element with `data-drop` is that element's own.
 *
 * @param {() => boolean} open whether anything is taken just now; where not, the page at least does not give way to the file
 * @param {(found: import("./files.js").Found) => void} take
 */
export function acceptDrops(open, take) {
  const sign = document.createElement("div");
  sign.className = "dropping";
  sign.setAttribute("aria-hidden", "true");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    if (!open()) return;
    sign.textContent = t(isOthers(event) ? "send.dropping.on" : "send.dropping");
    if (!sign.isConnected) document.body.append(sign);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && sign.remove());
  addEventListener("drop", async (event) => {
    sign.remove();
    if (!event.dataTransfer || !holdsFiles(event)) return;
    event.preventDefault();
    if (open() && !isOthers(event)) take(await ofDrop(event.dataTransfer));
  });
}

/** @param {DragEvent} event */
const holdsFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files") ?? false;

/** @param {DragEvent} event */
const isOthers = ({ target }) => target instanceof Element && target.closest("[data-drop]") !== null;
