// A download on its way, as its recipient sees it: how far it is, what holds it up, what to do about it.

import { showArrived } from "./arrived.js";
import { isText, plainSize, showBelow } from "./contents.js";
import { receive, remembered } from "./download.js";
import { onWake } from "./network.js";
import { isKey, t } from "./text.js";
import { announce, byId, clock, focus, say, size, span } from "./ui.js";

/** @typedef {import("./download.js").DownloadState} DownloadState */
/** @typedef {Awaited<ReturnType<typeof import("./save.js").plan>>} Plan */

/**
 * @typedef {object} Share
 * @property {string} id
 * @property {string} secret base64url
 * @property {import("./seal.js").Keys} keys
 * @property {number} size bytes of sealed content
 * @property {import("./seal.js").Manifest} manifest
 */

/**
 * Downloads, and shows how it goes.
 *
 * @param {Share} share
 * @param {Plan} how
 * @param {{ granted(): void, gone(problem: { reason?: string, at?: string }, granted: boolean): void }} told `granted`: the
 *   claim is this browser's; `gone`: the server has it no more
 */
export async function transfer(share, how, told) {
  const view = new View(share, how, told);
  byId("pause").onclick = () => view.download?.pause();
  byId("go-on").onclick = () => view.goOn();
  showBelow("transfer");
  view.download = await receive({ ...share, how }, (state) => view.show(state));
  onWake(() => view.download?.wake());
}

/** What a reload would lose: there is nothing of it on this machine that it could go on from. */
const isLostByReload = (/** @type {Plan} */ how) => how.kind !== "staged";

class View {
  /** @type {import("./download.js").Download | undefined} */
  download;
  /** @type {DownloadState} */
  #state = { phase: "claiming", received: 0, total: 0, rate: 0, secondsLeft: null };
  #quarter = 0;
  #granted = false;
  /** Until when the server waits for us while nothing moves, RFC 3339. */
  #lease = "";

  /**
   * @param {Share} share
   * @param {Plan} how
   * @param {Parameters<typeof transfer>[2]} told
   */
  constructor(share, how, told) {
    this.share = share;
    this.how = how;
    this.told = told;
    this.title = document.title;
    byId("keep-open").hidden = !isLostByReload(how);
    this.#render("claiming", true);
  }

  goOn() {
    if (this.#state.phase === "paused") this.download?.resume();
    else if (this.#state.phase === "waiting") this.download?.wake();
    else this.download?.retry();
  }

  /** @param {DownloadState} state */
  show(state) {
    const isNew = state.phase !== this.#state.phase;
    this.#state = state;
    if (!this.#granted && ["receiving", "arrived", "finished"].includes(state.phase)) {
      this.#granted = true;
      this.told.granted();
    }
    this.#guard(["receiving", "waiting", "paused"].includes(state.phase));
    if (state.phase === "arrived" || state.phase === "finished") return this.#arrived(isNew);
    if (state.phase === "failed" && state.problem?.code === "gone") {
      document.title = this.title;
      return this.told.gone(state.problem, this.#granted);
    }
    if (isNew && state.phase === "waiting") void this.#ask();
    this.#render(state.phase, isNew);
  }

  /** @param {boolean} isNew */
  #arrived(isNew) {
    document.title = this.title;
    const { download, share, how } = this;
    if (isNew && download) showArrived({ download, manifest: share.manifest, kind: how.kind, fresh: true, isFinished: this.#state.phase === "finished" });
  }

  /**
   * @param {Exclude<DownloadState["phase"], "arrived" | "finished">} phase
   * @param {boolean} isNew
   */
  #render(phase, isNew) {
    const heading = t(`receive.phase.${phase === "receiving" && isText(this.share.manifest) ? "claiming" : phase}`);
    this.#figures();
    this.#buttons(phase);
    this.#explain();
    const quarter = Math.floor(this.#fraction() * 4);
    if (isNew) {
      byId("phase").textContent = heading;
      if (phase === "claiming" || phase === "failed") focus(byId("phase"));
      else announce(phase === "waiting" ? `${heading} ${byId("problem").textContent}` : heading);
    } else if (quarter > this.#quarter && quarter < 4) {
      announce(t("receive.percent", { n: quarter * 25 }));
    }
    this.#quarter = quarter;
  }

  #fraction() {
    const { received, total } = this.#state;
    return total > 0 ? received / total : 0;
  }

  #figures() {
    const { phase, received, total, rate, secondsLeft } = this.#state;
    const bar = /** @type {HTMLProgressElement} */ (byId("progress"));
    if (phase === "claiming") {
      bar.removeAttribute("value");
      byId("amount").textContent = size(plainSize(this.share.manifest));
      byId("pace").textContent = "";
      return;
    }
    bar.value = this.#fraction();
    byId("amount").textContent = t("receive.amount", { received: size(received), total: size(total) });
    const pace = phase === "receiving" && rate > 0 ? [t("receive.rate", { size: size(rate) })] : [];
    if (pace.length > 0 && secondsLeft !== null) pace.push(t("left", { span: span(Math.max(1, secondsLeft)) }));
    byId("pace").textContent = pace.join(" · ");
    document.title = t("receive.percent.title", { n: Math.floor(this.#fraction() * 100), title: this.title });
  }

  /** @param {DownloadState["phase"]} phase */
  #buttons(phase) {
    const goOn = byId("go-on");
    const had = document.activeElement;
    byId("pause").hidden = phase !== "receiving" && phase !== "waiting";
    goOn.hidden = phase !== "paused" && phase !== "waiting" && !(phase === "failed" && this.#state.problem?.code !== "budget_spent");
    goOn.textContent = t(phase === "waiting" ? "receive.now" : "receive.go_on");
    // The button that was pressed is gone: the keyboard stays with the other.
    if (had instanceof HTMLElement && had.hidden) (goOn.hidden ? byId("pause") : goOn).focus();
  }

  /** Says what holds it up. */
  #explain() {
    const { phase, problem } = this.#state;
    const element = byId("problem");
    element.hidden = phase !== "waiting" && phase !== "failed";
    if (element.hidden) return;
    if (phase === "waiting") {
      const until = Date.parse(this.#lease);
      if (until > Date.now()) say(element, "receive.lost.until", { time: clock(until) });
      else say(element, "receive.lost");
      return;
    }
    const key = `receive.problem.${problem?.code}`;
    say(element, isKey(key) ? key : "receive.problem.unknown");
  }

  /** Asks until when the server waits. */
  async #ask() {
    const record = await remembered(this.share.id);
    this.#lease = record?.leaseExpiresAt ?? "";
    if (this.#state.phase === "waiting") this.#explain();
  }

  /**
   * Has the browser ask before it closes a page whose download would be lost.
   *
   * @param {boolean} runs
   */
  #guard(runs) {
    if (runs && isLostByReload(this.how)) addEventListener("beforeunload", warn);
    else removeEventListener("beforeunload", warn);
  }
}

/** @param {Event} event */
const warn = (event) => event.preventDefault();
