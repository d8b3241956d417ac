// An upload that runs, as the page shows it: how far, how fast, and what one can do about it.

import { ask } from "./ask.js";
import { visible } from "./names.js";
import { isKey, language, t } from "./text.js";
import { announce, clone, focus, part, size, span } from "./ui.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./upload.js").UploadState} UploadState */

/** Progress is read out in steps of a quarter: more often would only disturb. */
const STEPS = 4;

const TITLE = document.title;

/**
 * Begins an upload, and shows it in `place` until it has ended.
 *
 * @param {HTMLElement} place
 * @param {string} what in words
 * @param {(onState: (state: UploadState) => void) => Upload} begin
 * @returns {Promise<UploadState>} its last; where it has failed, the sender has read why
 */
export function watch(place, what, begin) {
  const panel = new Panel(what);
  place.append(panel.element);
  focus(part(panel.element, "state"));
  return new Promise((resolve) => {
    const over = new AbortController();
    const end = (/** @type {UploadState} */ state) => {
      over.abort();
      panel.element.remove();
      document.title = TITLE;
      resolve(state);
    };
    const upload = begin((state) => {
      panel.show(state);
      if (state.phase === "done" || state.phase === "cancelled") end(state);
      if (state.phase !== "failed") return;
      over.abort();
      panel.onBack = () => end(state);
    });
    panel.onPause = (paused) => (paused ? upload.resume() : upload.pause());
    panel.onCancel = async () => {
      if (await ask(cancelling(), over.signal)) await upload.cancel();
    };
    // The tab warns before it closes.
    addEventListener("beforeunload", (event) => event.preventDefault(), { signal: over.signal });
  });
}

const cancelling = () => ({
  title: t("send.cancel.title"),
  text: t("send.cancel.text"),
  yes: t("send.cancel.yes"),
  no: t("send.cancel.no"),
});

class Panel {
  element = clone("sending");
  /** @type {UploadState["phase"] | ""} */
  #phase = "";
  #why = "";
  #step = 0;
  onPause = (/** @type {boolean} */ _paused) => {};
  onCancel = () => {};
  onBack = () => {};

  /** @param {string} what */
  constructor(what) {
    this.#say("what", what);
    this.#part("pause").addEventListener("click", () => this.onPause(this.#phase === "paused"));
    this.#part("cancel").addEventListener("click", () => this.onCancel());
    this.#part("back").addEventListener("click", () => this.onBack());
    this.show({ phase: "preparing", sent: 0, total: 0, rate: 0, secondsLeft: null });
  }

  /** @param {UploadState} state */
  show(state) {
    if (state.phase === "done" || state.phase === "cancelled") return;
    const whole = state.total > 0 ? Math.floor((100 * state.sent) / state.total) : 0;
    const percent = (whole / 100).toLocaleString(language, { style: "percent" });
    const bar = /** @type {HTMLProgressElement} */ (this.#part("bar"));
    bar.value = state.total > 0 ? state.sent / state.total : 0;
    this.#say("percent", percent);
    this.#say("amount", state.total > 0 ? t("send.amount", { sent: size(state.sent), total: size(state.total) }) : "");
    this.#say("pace", state.phase === "sending" ? pace(state) : "");
    document.title = `${percent} · ${phaseOf(state)}`;
    const why = reason(state);
    if (state.phase !== this.#phase || why !== this.#why) this.#turn(state, why);
    else this.#tell(state, whole, percent);
  }

  /**
   * The phase is another one, or its reason.
   *
   * @param {UploadState} state
   * @param {string} why
   */
  #turn(state, why) {
    const { phase } = state;
    this.#phase = phase;
    this.#why = why;
    this.element.dataset.phase = phase;
    this.#say("state", phaseOf(state));
    this.#say("problem", why);
    this.#part("problem").hidden = why === "";
    this.#say("pause", t(phase === "paused" ? "send.resume" : "send.pause"));
    const failed = phase === "failed";
    for (const name of ["pause", "cancel", "stay"]) this.#part(name).hidden = failed;
    this.#part("back").hidden = !failed;
    if (failed) this.#part("back").focus();
    announce(`${phaseOf(state)}. ${why}`);
  }

  /**
   * Progress within a phase.
   *
   * @param {UploadState} state
   * @param {number} whole percent
   * @param {string} percent in words
   */
  #tell(state, whole, percent) {
    const step = Math.floor((whole * STEPS) / 100);
    if (step <= this.#step || state.phase !== "sending") return;
    this.#step = step;
    const left = state.secondsLeft === null ? "" : `, ${t("send.left", { span: span(state.secondsLeft) })}`;
    announce(t("send.percent", { percent }) + left);
  }

  /** @param {string} name */
  #part(name) {
    return part(this.element, name);
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  #say(name, text) {
    const element = this.#part(name);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** @param {UploadState} state */
const phaseOf = ({ phase }) => {
  const key = `send.phase.${phase}`;
  return isKey(key) ? t(key) : "";
};

/** @param {UploadState} state */
function pace({ rate, secondsLeft }) {
  const words = rate > 0 ? [t("send.pace", { rate: size(Math.round(rate)) })] : [];
  if (secondsLeft !== null) words.push(t("send.left", { span: span(secondsLeft) }));
  return words.join(", ");
}

/**
 * Why it does not go on, and what happens next.
 *
 * @param {UploadState} state
 */
function reason({ phase, problem }) {
  const words = problem ? [problemOf(problem.code, problem.name)] : [];
  if (phase === "waiting") words.push(t("send.waiting"));
  return words.join(" ");
}

/**
 * What a problem's code means, and what to do.
 *
 * @param {string} code
 * @param {string} [name] of the file that it is about
 */
export function problemOf(code, name) {
  const key = `send.problem.${code}`;
  return t(isKey(key) ? key : "send.problem.internal", { name: name ? visible(name) : t("send.a_file") });
}
