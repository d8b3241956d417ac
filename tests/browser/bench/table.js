// What is measured: a name, the loop, its options, and in how many workers.

const MIB = 2 ** 20;

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {"loop" | "echo" | "send" | "receive"} [verb] of bench/page.js
 * @property {string} [loop] of bench/loops.js
 * @property {any} [options]
 * @property {number} [workers]
 */

/** @param {number} bytes @returns {Row[]} */
export const table = (bytes) => [
  { name: "page: upload", verb: "send" },
  { name: "page: download", verb: "receive" },

  ...[1, 2, 4, 8].map((width) => ({ name: `seal, ${width} in flight`, loop: "seal", options: { bytes, width } })),
  ...[2, 4].map((width) => ({ name: `seal, ${width} in flight, two workers`, loop: "seal", options: { bytes, width }, workers: 2 })),
  ...[1, 2, 4, 8].map((width) => ({ name: `unseal, ${width} in flight`, loop: "unseal", options: { bytes, width } })),
  ...[2, 4].map((width) => ({ name: `unseal, ${width} in flight, two workers`, loop: "unseal", options: { bytes, width }, workers: 2 })),
  ...[1, 2].map((width) => ({ name: `sha-256 of 16 MiB, ${width} in flight`, loop: "sha256", options: { bytes, width, part: 16 * MIB } })),
  { name: "copy 16 MiB into a new array", loop: "copy", options: { bytes } },

  ...[1, 4, 16].map((mib) => ({ name: `read, slice().arrayBuffer() of ${mib} MiB`, loop: "read", options: { file: true, how: "slice", size: mib * MIB } })),
  { name: "read, slice().arrayBuffer() of 4 MiB, two at once", loop: "read", options: { file: true, how: "slice", size: 4 * MIB, width: 2 } },
  { name: "read, slice().arrayBuffer() of 256 KiB, four at once", loop: "read", options: { file: true, how: "slice", size: MIB / 4, width: 4 } },
  { name: "read, Response(slice) of 16 MiB", loop: "read", options: { file: true, how: "response", size: 16 * MIB } },
  ...[1, 16].map((mib) => ({ name: `read, FileReaderSync of ${mib} MiB`, loop: "read", options: { file: true, how: "sync", size: mib * MIB } })),
  { name: "read, stream()", loop: "read", options: { file: true, how: "stream" } },
  { name: "read, stream(), byob of 1 MiB", loop: "read", options: { file: true, how: "byob", size: MIB } },

  { name: "put, the file itself, one PATCH, fetch", loop: "put", options: { file: true, bytes, body: "file", by: "fetch" } },
  ...["fetch", "xhr", "xhr progress"].flatMap((by) =>
    ["array", "blob"].map((body) => ({ name: `put, 16 MiB, ${body}, ${by}`, loop: "put", options: { bytes, part: 16 * MIB, body, by } })),
  ),
  ...[4, 8, 32].flatMap((mib) =>
    ["array", "blob"].map((body) => ({ name: `put, ${mib} MiB, ${body}, fetch`, loop: "put", options: { bytes, part: mib * MIB, body, by: "fetch" } })),
  ),

  ...[4, 8, 16, 32].flatMap((mib) =>
    ["array", "blob"].map((body) => ({ name: `upload, ${mib} MiB, ${body}, fetch`, loop: "upload", options: { file: true, part: mib * MIB, body } })),
  ),
  ...["xhr", "xhr progress"].flatMap((by) =>
    ["array", "blob"].map((body) => ({ name: `upload, 16 MiB, ${body}, ${by}`, loop: "upload", options: { file: true, body, by } })),
  ),
  { name: "upload, 16 MiB, array, two ahead", loop: "upload", options: { file: true, ahead: 2 } },
  { name: "upload, 16 MiB, array, none ahead", loop: "upload", options: { file: true, ahead: 0 } },
  { name: "upload, 16 MiB, array, reads of 4 MiB", loop: "upload", options: { file: true, read: 4 * MIB } },
  { name: "upload, 16 MiB, array, 2 in flight", loop: "upload", options: { file: true, width: 2 } },
  { name: "upload, 16 MiB, array, 8 in flight", loop: "upload", options: { file: true, width: 8 } },
  ...[1, 4, 16].flatMap((mib) =>
    [["array", false], ["array", true], ["blob", false]].map(([body, reuse]) => ({
      name: `upload, 16 MiB, byob reads of ${mib} MiB, ${reuse ? "reused " : ""}${body}`,
      loop: "upload",
      options: { file: true, read: mib * MIB, byob: true, body, reuse },
    })),
  ),
  { name: "upload, 32 MiB, byob reads of 4 MiB, blob", loop: "upload", options: { file: true, part: 32 * MIB, read: 4 * MIB, byob: true, body: "blob" } },
  { name: "upload, 32 MiB, byob reads of 4 MiB, reused array", loop: "upload", options: { file: true, part: 32 * MIB, read: 4 * MIB, byob: true, reuse: true } },
  { name: "upload, 16 MiB, array, sha-256", loop: "upload", options: { file: true, sha: true } },

  { name: "get, reader", loop: "download", options: { unseal: false } },
  ...[256, 1024].map((kib) => ({ name: `get, byob of ${kib} KiB`, loop: "download", options: { how: "byob", chunk: kib * 1024, unseal: false } })),
  { name: "get, byob of whole records", loop: "download", options: { how: "byob exact", unseal: false } },
  ...[4, 16].flatMap((mib) =>
    [1, 2].map((connections) => ({ name: `get, ranges of ${mib} MiB, ${connections} at once`, loop: "download", options: { how: "fetch range", range: mib * MIB, connections, unseal: false } })),
  ),
  { name: "get, ranges of 16 MiB, xhr, 2 at once", loop: "download", options: { how: "xhr range", connections: 2, unseal: false } },

  { name: "get and unseal, reader", loop: "download", options: {} },
  { name: "get and unseal, reader, 8 in flight", loop: "download", options: { width: 8 } },
  { name: "get and unseal, byob of 1 MiB", loop: "download", options: { how: "byob", chunk: MIB } },
  { name: "get and unseal, byob of whole records", loop: "download", options: { how: "byob exact" } },
  ...[1, 2].map((connections) => ({ name: `get and unseal, ranges of 16 MiB, ${connections} at once`, loop: "download", options: { how: "fetch range", connections } })),
  { name: "get and unseal, ranges of 4 MiB, 2 at once", loop: "download", options: { how: "fetch range", range: 4 * MIB, connections: 2 } },
  ...[0.5, 2, 4].map((mib) => ({ name: `get and unseal, byob of ${mib} MiB`, loop: "download", options: { how: "byob", chunk: mib * MIB } })),
  ...[1, 2].map((mib) => ({ name: `get, unseal, write, byob of ${mib} MiB`, loop: "download", options: { how: "byob", chunk: mib * MIB, write: 1 } })),
  { name: "get, unseal, write, byob of 1 MiB, truncated first", loop: "download", options: { how: "byob", truncate: 1, write: 1 } },
  { name: "get, unseal, write, reader", loop: "download", options: { write: 1 } },
  { name: "get, unseal, write, byob of whole records", loop: "download", options: { how: "byob exact", write: 1 } },
  { name: "get, unseal, write, ranges of 16 MiB, 2 at once", loop: "download", options: { how: "fetch range", connections: 2, write: 1 } },
  { name: "get, write, reader", loop: "download", options: { unseal: false, write: 1 } },

  ...[256, 1024, 4096, 16384].map((kib) => ({ name: `write, OPFS, ${kib} KiB`, loop: "opfs", options: { bytes, size: kib * 1024 } })),
  { name: "pass 256 KiB to a worker and back", verb: "echo", options: { size: MIB / 4, count: (bytes / MIB) * 2 } },
  { name: "pass 16 MiB to a worker and back", verb: "echo", options: { size: 16 * MIB, count: bytes / MIB / 32 } },
];
