// What happened to a share, in order: what its receipt says, and what watching it shows. Pure.

/** @typedef {import("./api.js").Receipt} Receipt */
/** @typedef {{ at: number, until: number | null }} Break ms: since when nothing moved, and until when */

/**
 * @typedef {object} Happening
 * @property {"uploading" | "uploaded" | "unopened" | "opened" | "wrong" | "claimed" | "interrupted" | "resumed" |
 *   "arrived" | "unconfirmed" | "expired" | "unseen" | "revoked" | "abandoned"} what
 * @property {string | number} [at]
 * @property {number} [times] how often
 * @property {number} [served] bytes that were sent; of a claim
 * @property {boolean} [runs] whether the claim may still be read
 */

/**
 * Nothing moved for so long, in milliseconds: the server counts 16 MiB at a time, which take a slow connection that
 * long. Where steps took longer so far, thrice the longest.
 */
const STILL = 120_000;

/** Sees downloads break off and go on, which a single receipt does not tell. */
export class Follower {
  /** @type {{ served: number, movedAt: number, longest: number, breaks: Break[] }[]} */
  #claims = [];

  /**
   * @param {Receipt} receipt
   * @param {number} now ms
   * @param {number} [size] bytes of sealed content, where that is known
   */
  note(receipt, now, size = Infinity) {
    receipt.claims.forEach((claim, index) => {
      const seen = (this.#claims[index] ??= { served: claim.served, movedAt: now, longest: 0, breaks: [] });
      const open = seen.breaks.at(-1)?.until === null ? seen.breaks.at(-1) : undefined;
      if (claim.state === "lapsed") return;
      const still = now - seen.movedAt;
      // What a connection that broke off did not take is given back.
      const isBroken = claim.served < seen.served || (claim.served < size && still > Math.max(STILL, 3 * seen.longest));
      if (claim.state === "finished" || claim.served > seen.served) {
        if (open) open.until = now;
        else seen.longest = Math.max(seen.longest, still);
        seen.movedAt = now;
      } else if (isBroken && !open) {
        seen.breaks.push({ at: claim.served < seen.served ? now : seen.movedAt, until: null });
      }
      seen.served = claim.served;
    });
  }

  /**
   * When a claim's download stood still.
   *
   * @param {number} index of the claim
   * @returns {Break[]}
   */
  breaks(index) {
    return this.#claims[index]?.breaks ?? [];
  }
}

/**
 * Everything that happened, in order.
 *
 * @param {Receipt} receipt
 * @param {Follower} follower
 * @param {number} [revokedAt] ms, where that was seen
 * @returns {Happening[]}
 */
export function happenings(receipt, follower, revokedAt) {
  const { state, opened, wrong_proofs: wrong, claims } = receipt;
  /** @type {Happening[]} */
  const first = [{ what: receipt.expires_at === null ? "uploading" : "uploaded", at: receipt.created_at }];
  if (opened > 0) first.push({ what: "opened", times: opened });
  else if (state === "ready" && claims.length === 0) first.push({ what: "unopened" });
  if (wrong > 0) first.push({ what: "wrong", times: wrong });
  const middle = claims.flatMap((claim, index) => timed(ofClaim(claim, follower.breaks(index))));
  middle.sort((a, b) => a.moment - b.moment);
  return [...first, ...middle.map(({ happening }) => happening), ...end(receipt, revokedAt)];
}

/**
 * With the time that each is sorted by: of one claim's happenings none comes before the one that it follows, whatever
 * the clocks of server and browser say.
 *
 * @param {Happening[]} all
 */
function timed(all) {
  let moment = 0;
  return all.map((happening) => {
    if (happening.at !== undefined) moment = Math.max(moment, new Date(happening.at).getTime());
    return { moment, happening };
  });
}

/**
 * @param {Receipt["claims"][number]} claim
 * @param {Break[]} breaks
 * @returns {Happening[]}
 */
function ofClaim(claim, breaks) {
  /** @type {Happening[]} */
  const all = [{ what: "claimed", at: claim.claimed_at, served: claim.served, runs: claim.state === "claimed" }];
  const last = breaks.at(-1);
  if (last) all.push({ what: "interrupted", at: last.at, times: breaks.length });
  if (last?.until) all.push({ what: "resumed", at: last.until });
  if (claim.state === "finished") all.push({ what: "arrived", at: claim.finished_at ?? undefined });
  if (claim.state === "lapsed") all.push({ what: "unconfirmed" });
  return all;
}

/**
 * @param {Receipt} receipt
 * @param {number} [revokedAt]
 * @returns {Happening[]}
 */
function end({ state, expires_at, opened }, revokedAt) {
  if (state === "revoked" || revokedAt !== undefined) return [{ what: "revoked", at: revokedAt }];
  if (state === "abandoned") return [{ what: "abandoned" }];
  if (state === "expired") return [{ what: opened > 0 ? "expired" : "unseen", at: expires_at ?? undefined }];
  return [];
}

/**
 * Whether nothing more can happen.
 *
 * @param {Receipt} receipt
 */
export const isOver = ({ state, claims }) =>
  !["uploading", "ready", "claimed"].includes(state) && claims.every((claim) => claim.state !== "claimed");
