// The fragment of the address: 16 random bytes that open something, and that no browser shows to a server.

import { byId, focus } from "./ui.js";

/**
 * The bytes that a fragment begins with, base64url; null where it does not. What chats append to a link is left out.
 *
 * @param {string} fragment
 */
export function tokenIn(fragment) {
  return /^#([\w-]{21}[AQgw])(?![\w-])/.exec(fragment)?.[1] ?? null;
}

/** Has the page begin anew with a token that is put into its address, and lose none to the link to the content. */
export function keepFragment() {
  addEventListener("hashchange", () => tokenIn(location.hash) && location.reload());
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    focus(byId("main"));
  });
}
