// A download on its way, as its recipient sees it: how far it is, what holds it up, what to do about it.

import { showArrived } from "./arrived.js";
import { isText, plainSize, showBelow } from "./contents.js";
import { receive, remembered } from "./download.js";
import { isKey, t } from "./text.js";
import { announce, byId, clock, focus, say, size, span } from "./ui.js";

/** @typedef {import("./download.js").DownloadState} DownloadState */
/** @typedef {import("./save.js").Plan} Plan */

/**
 * @typedef {object} Share
 * @property {string} id
 * @property {string} secret base64url
 * @property {import("./seal.js").Keys} keys
 * @property {number} size bytes of sealed content
 * @property {import("./seal.js").Manifest} manifest
 */

/**
 * @typedef {object} Told
 * @property {() => void} granted the claim is this browser's
 * @property {(problem: { reason?: string, at?: string }, granted: boolean) => void} gone the server has it no more
 */

/**
 * Downloads, and shows how it goes.
 *
 * @param {Share} share
 * @param {Plan} how
 * @param {Told} told
 */
export async function transfer(share, how, told) {
  // What is shown first takes the focus, and is read out.
  showBelow("transfer");
  const view = new View(share, how, told);
  byId("pause").onclick = () => view.download?.pause();
  byId("go-on").onclick = () => void view.goOn();
  await view.begin();
}

/** The lease may be as old as that while bytes move, in milliseconds. */
const RENEWED = 20_000;

/** Problems that nobody can go on from. */
const ENDS = ["budget_spent", "taken_here"];

/** What a reload would lose: there is nothing of it on this machine that it could go on from. */
const isLostByReload = (/** @type {Plan} */ how) => how.kind !== "staged";

class View {
  /** @type {import("./download.js").Download | undefined} */
  download;
  /** @type {DownloadState} */
  #state = { phase: "claiming", received: 0, total: 0, rate: 0, secondsLeft: null };
  #quarter = 0;
  #granted = false;
  /** How long the server waits while nothing moves, and until when it does at least; ms. */
  #lease = { length: 0, until: 0 };

  /**
   * @param {Share} share
   * @param {Plan} how
   * @param {Told} told
   */
  constructor(share, how, told) {
    this.share = share;
    this.how = how;
    this.told = told;
    this.title = document.title;
    byId("keep-open").hidden = !isLostByReload(how);
    this.#render("claiming", true);
  }

  begin() {
    return this.#attempt(async () => {
      this.download = await receive({ ...this.share, how: this.how }, (state) => this.show(state));
    });
  }

  /** What the button does that stands there while nothing moves. */
  goOn() {
    const { download } = this;
    if (!download) return this.begin();
    if (this.#state.phase === "paused") return download.resume();
    if (this.#state.phase === "waiting") return download.wake();
    return this.#attempt(() => download.retry());
  }

  /** Where not even a beginning is made, that is shown as what it is. @param {() => Promise<void>} act */
  async #attempt(act) {
    try {
      await act();
    } catch (error) {
      console.error(error);
      this.show({ ...this.#state, phase: "failed", problem: { code: "internal" } });
    }
  }

  /** @param {DownloadState} state */
  show(state) {
    const isNew = state.phase !== this.#state.phase;
    this.#state = state;
    if (!this.#granted && ["receiving", "arrived", "finished"].includes(state.phase)) this.#grant();
    if (state.phase === "receiving") this.#lease.until = Math.max(this.#lease.until, Date.now() + this.#lease.length);
    this.#guard(["receiving", "waiting", "paused"].includes(state.phase));
    if (state.phase === "arrived" || state.phase === "finished") return this.#arrived(isNew);
    if (state.phase === "failed" && state.problem?.code === "gone") {
      document.title = this.title;
      return this.told.gone(state.problem, this.#granted);
    }
    this.#render(state.phase, isNew);
  }

  /** @param {boolean} isNew */
  #arrived(isNew) {
    document.title = this.title;
    const { download, share } = this;
    const isFinished = this.#state.phase === "finished";
    if (isNew && download) showArrived({ download, manifest: share.manifest, fresh: true, isFinished });
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
      else announce(phase === "waiting" ? `${heading}. ${byId("problem").textContent}` : heading);
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
    byId("amount").textContent = t("receive.amount", { received: size(received, 1), total: size(total) });
    const pace = phase === "receiving" && rate > 0 ? [t("receive.rate", { size: size(rate, 1) })] : [];
    if (pace.length > 0 && secondsLeft !== null) pace.push(t("left", { span: span(Math.max(1, secondsLeft)) }));
    byId("pace").textContent = pace.join(" · ");
    document.title = t("receive.percent.title", { n: Math.floor(this.#fraction() * 100), title: this.title });
  }

  /** @param {DownloadState["phase"]} phase */
  #buttons(phase) {
    const goOn = byId("go-on");
    const had = document.activeElement;
    byId("pause").hidden = phase !== "receiving" && phase !== "waiting";
    goOn.hidden =
      phase !== "paused" &&
      phase !== "waiting" &&
      !(phase === "failed" && !ENDS.includes(this.#state.problem?.code ?? ""));
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
      const { until } = this.#lease;
      if (until > Date.now()) say(element, "receive.lost.until", { time: clock(until) });
      else say(element, "receive.lost");
      return;
    }
    const key = `receive.problem.${problem?.code}`;
    say(element, isKey(key) ? key : "receive.problem.unknown");
  }

  /** The claim is this browser's. */
  #grant() {
    this.#granted = true;
    this.told.granted();
    void remembered(this.share.id).then((record) => {
      const until = record?.leaseExpiresAt ?? 0;
      // Bytes that move renew it, and the server looks at that every 20 seconds at least.
      this.#lease = { length: Math.max(0, until - Date.now() - RENEWED), until };
    });
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
