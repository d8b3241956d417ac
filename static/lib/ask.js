// Asks before something is done that can't be undone.

/**
 * Asks in a dialog of the page; Escape is a no.
 *
 * @param {{ title: string, text: string, yes: string, no: string }} words
 * @param {AbortSignal} [signal] aborted where there is nothing to ask any more, which is a no
 * @returns {Promise<boolean>}
 */
export function ask({ title, text, yes, no }, signal) {
  const dialog = document.createElement("dialog");
  dialog.className = "ticket ask";
  dialog.setAttribute("aria-labelledby", "ask-title");
  dialog.setAttribute("aria-describedby", "ask-text");
  const heading = element("h2", title);
  heading.id = "ask-title";
  const words = element("p", text);
  words.id = "ask-text";
  const actions = element("div", "");
  actions.className = "buttons";
  const agree = button(yes, "button slim danger", () => dialog.close("yes"));
  const refuse = button(no, "button second slim", () => dialog.close());
  actions.append(agree, refuse);
  const body = element("div", "");
  body.className = "part";
  body.append(heading, words, actions);
  dialog.append(body);
  document.body.append(dialog);
  return new Promise((resolve) => {
    const moot = () => dialog.close();
    signal?.addEventListener("abort", moot);
    dialog.addEventListener("close", () => {
      signal?.removeEventListener("abort", moot);
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    dialog.showModal();
    // What is safe has the focus.
    refuse.focus();
  });
}

/**
 * @param {string} name
 * @param {string} text
 */
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/**
 * @param {string} text
 * @param {string} look
 * @param {() => void} act
 */
function button(text, look, act) {
  const made = /** @type {HTMLButtonElement} */ (element("button", text));
  made.type = "button";
  made.className = look;
  made.addEventListener("click", act);
  return made;
}
