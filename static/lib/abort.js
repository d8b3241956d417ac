// Aborts that come from more than one side. Runs in pages and in workers.

/**
 * A signal that is aborted with the first of `signals`, and for its reason.
 *
 * @param {AbortSignal[]} signals
 */
export function either(...signals) {
  if ("any" in AbortSignal) return AbortSignal.any(signals);
  // Browsers of before 2024.
  const first = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) first.abort(signal.reason);
    signal.addEventListener("abort", () => first.abort(signal.reason), { signal: first.signal });
  }
  return first.signal;
}
