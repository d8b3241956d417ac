// The service worker, which hands downloads to the browser and takes in what a phone shares.

import { script } from "./trusted.js";

/** A service worker that has not started by then does not. Milliseconds. */
const STARTING = 10_000;

/**
 * The service worker for the addresses below `scope`: it sees no others, so that it stands in nobody's way.
 *
 * @param {"/share-target" | "/save/"} [scope]
 * @returns {Promise<ServiceWorker>} active
 */
export async function serviceWorker(scope = "/share-target") {
  if (!navigator.serviceWorker) throw new Error("no service workers here");
  const registration = await navigator.serviceWorker.register(script("/sw.js"), { scope });
  if (registration.active) return registration.active;
  const worker = registration.installing ?? registration.waiting;
  if (!worker) throw new Error("no service worker was installed");
  const signal = AbortSignal.timeout(STARTING);
  return new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "activated") resolve(worker);
      if (worker.state === "redundant" || signal.aborted) reject(new Error("the service worker did not start"));
    };
    worker.addEventListener("statechange", look);
    signal.addEventListener("abort", look);
    look();
  });
}
