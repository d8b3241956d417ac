// Hands downloads to the browser as streams, and takes in what a phone shares. Everything else is left to the network.
//
// A classic script, alone in its file: what it does with IndexedDB is in step with lib/remember.js.

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

const NAME = "onetimeshare";
const VERSION = 1;
const STORES = ["uploads", "parts", "claims", "shares", "shared"];
/** Chunks that wait for the browser to write them. */
const QUEUED = 4;

/** Downloads that are offered and not yet begun, by their paths. */
const offers = new Map();

worker.addEventListener("install", () => worker.skipWaiting());

// Any message keeps this worker alive; some offer a download.
worker.addEventListener("message", ({ data, ports: [port] }) => {
  if (!data?.offer) return;
  offers.set(data.offer, { ...data, port });
  port.onmessage = () => port.postMessage("alive");
  port.postMessage("offered");
});

worker.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (origin !== worker.location.origin) return;
  if (pathname.startsWith("/save/")) event.respondWith(download(event, pathname));
  else if (pathname === "/share-target" && event.request.method === "POST") event.respondWith(take(event.request));
});

/** @param {FetchEvent} event @param {string} path */
function download(event, path) {
  const offer = offers.get(path);
  offers.delete(path);
  // An offer that is over: the page stays where it is, and the server hears of nothing.
  if (!offer) return new Response(null, { status: 204 });
  let end = () => {};
  event.waitUntil(new Promise((resolve) => (end = () => resolve(undefined))));
  const { name, length, port } = offer;
  return new Response(stream(port, end), {
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(length),
      "content-disposition": `attachment; filename*=UTF-8''${escaped(name)}`,
      "content-security-policy": "sandbox; default-src 'none'",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
    },
  });
}

/**
 * What comes through `port`, as fast as the browser writes it. It breaks off, rather than ending, where it is not whole.
 *
 * @param {MessagePort} port
 * @param {() => void} end
 */
function stream(port, end) {
  let arrived = () => {};
  const start = (/** @type {any} */ controller) => {
    port.onmessage = ({ data }) => {
      if (data.ping) return port.postMessage("alive");
      if (data.chunk) controller.enqueue(data.chunk);
      else if (data.end) controller.close();
      else controller.error(new Error("not whole"));
      arrived();
      if (data.chunk) return;
      if (data.end) port.postMessage("ended");
      end();
    };
  };
  const pull = () => {
    port.postMessage("pull");
    return new Promise((resolve) => (arrived = () => resolve(undefined)));
  };
  const cancel = () => {
    port.postMessage("cancelled");
    end();
  };
  return new ReadableStream({ start, pull, cancel }, { highWaterMark: QUEUED });
}

/** RFC 8187. @param {string} name */
const escaped = (name) =>
  encodeURIComponent(name.replace(/\p{Surrogate}/gu, "_")).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);

/** Keeps what was shared in this browser, and shows the page that sends it. @param {Request} request */
async function take(request) {
  try {
    const form = await request.formData();
    const files = form.getAll("file").filter((file) => typeof file === "object" && (file.name || file.size > 0));
    const text = ["title", "text", "url"].map((name) => form.get(name)).filter(Boolean).join("\n");
    const id = crypto.randomUUID();
    await put({ id, files, text });
    return Response.redirect(`/?shared=${id}`, 303);
  } catch {
    // Whatever went wrong: plaintext does not go to the server.
    return Response.redirect("/?shared=", 303);
  }
}

/** @param {object} record */
function put(record) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, VERSION);
    opening.onupgradeneeded = () => STORES.forEach((store) => opening.result.createObjectStore(store, { keyPath: "id" }));
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction("shared", "readwrite", { durability: "strict" });
      transaction.objectStore("shared").put(record);
      transaction.oncomplete = () => resolve(database.close());
      transaction.onabort = () => reject(database.close() ?? transaction.error);
    };
  });
}
