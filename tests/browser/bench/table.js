// What is measured.

const MIB = 2 ** 20;

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {"loop" | "echo" | "send" | "receive"} [verb] of bench/page.js
 * @property {string} [loop] of bench/loops.js
 * @property {any} [options] sizes in bytes; `width`: how many at once
 * @property {number} [workers]
 */

/** What the pages are measured by: the plainest loops that do the same. */
export const BARE = { "page: upload": "upload, 16 MiB, array", "page: download": "get and unseal, reader" };

/** @param {number} bytes of each row @returns {Row[]} */
export const table = (bytes) => [
  { name: "page: upload", verb: "send" },
  { name: "page: download", verb: "receive" },
  ...alone(bytes),
  ...sent(bytes),
  ...received(),
];

/** @param {string} loop @param {string} name @param {any} [options] @param {number} [workers] @returns {Row} */
const row = (loop, name, options = {}, workers = 1) => ({ name, loop, options, workers });

/** Buffers that go to a worker and come back; each way counts. @param {number} mib @param {number} bytes @returns {Row} */
const passed = (mib, bytes) => ({
  name: `pass ${mib} MiB to a worker and back`,
  verb: "echo",
  options: { size: mib * MIB, count: bytes / MIB / mib / 2 },
});

/** One thing alone. @param {number} bytes */
function alone(bytes) {
  const reads = (name, options) => row("read", `read, ${name}`, { file: true, ...options });
  return [
    ...["seal", "unseal"].flatMap((loop) => [
      ...[1, 4, 8].map((width) => row(loop, `${loop}, ${width} in flight`, { bytes, width })),
      row(loop, `${loop}, 4 in flight, two workers`, { bytes, width: 4 }, 2),
    ]),
    row("sha256", "SHA-256 of 16 MiB", { bytes, part: 16 * MIB, width: 1 }),
    row("copy", "copy 16 MiB into a new array", { bytes }),
    ...[0.25, 4, 16].map((mib) => reads(`slices of ${mib} MiB`, { how: "slice", size: mib * MIB })),
    reads("FileReaderSync of 16 MiB", { how: "sync", size: 16 * MIB }),
    reads("stream", { how: "stream" }),
    reads("stream, byob of 1 MiB", { how: "byob", size: MIB }),
    ...[0.25, 4].map((mib) => row("opfs", `write, OPFS, ${mib} MiB`, { bytes, size: mib * MIB })),
    ...[0.25, 16].map((mib) => passed(mib, bytes)),
  ];
}

/** Sent as it is; then read, sealed and sent. @param {number} bytes */
function sent(bytes) {
  const puts = (name, options) => row("put", `put, ${name}`, { bytes, part: 16 * MIB, body: "array", by: "fetch", ...options });
  const uploads = (name, options) => row("upload", `upload, ${name}`, { file: true, ...options });
  const byob = { byob: true, read: MIB };
  return [
    puts("the file itself, one PATCH", { file: true, body: "file" }),
    puts("16 MiB, array"),
    puts("16 MiB, Blob", { body: "blob" }),
    puts("16 MiB, array, XHR with progress", { by: "xhr progress" }),
    puts("4 MiB, array", { part: 4 * MIB }),
    puts("32 MiB, Blob", { part: 32 * MIB, body: "blob" }),
    uploads("16 MiB, array"),
    uploads("16 MiB, Blob", { body: "blob" }),
    uploads("16 MiB, array, XHR with progress", { by: "xhr progress" }),
    uploads("16 MiB, array, none ahead", { ahead: 0 }),
    uploads("16 MiB, array, two ahead", { ahead: 2 }),
    uploads("16 MiB, array, SHA-256", { sha: true }),
    uploads("16 MiB, array, slices of 4 MiB", { read: 4 * MIB }),
    uploads("16 MiB, array, byob", byob),
    uploads("16 MiB, reused array, byob", { ...byob, reuse: true }),
    uploads("16 MiB, Blob, byob", { ...byob, body: "blob" }),
    uploads("4 MiB, array", { part: 4 * MIB }),
    uploads("32 MiB, Blob, byob", { ...byob, part: 32 * MIB, body: "blob" }),
  ];
}

/** Fetched; then unsealed, and written. */
function received() {
  const byob = { how: "byob", chunk: 2 * MIB };
  const ranges = { how: "fetch range", range: 16 * MIB };
  const downloads = (name, options) => row("download", name, options);
  return [
    downloads("get, reader", { unseal: false }),
    ...[0.25, 1, 2, 4].map((mib) => downloads(`get, byob of ${mib} MiB`, { ...byob, chunk: mib * MIB, unseal: false })),
    downloads("get, ranges of 16 MiB", { ...ranges, unseal: false }),
    downloads("get, ranges of 4 MiB, two at once", { ...ranges, range: 4 * MIB, connections: 2, unseal: false }),
    downloads("get and unseal, reader", {}),
    downloads("get and unseal, byob of 2 MiB", byob),
    downloads("get and unseal, byob of 2 MiB, 8 in flight", { ...byob, width: 8 }),
    downloads("get and unseal, byob of whole records", { how: "byob exact" }),
    downloads("get and unseal, ranges of 16 MiB, two at once", { ...ranges, connections: 2 }),
    downloads("get, unseal, write, reader", { write: true }),
    downloads("get, unseal, write, byob of 2 MiB", { ...byob, write: true }),
    downloads("get, unseal, write, byob of 2 MiB, truncated first", { ...byob, write: true, truncate: true }),
  ];
}
