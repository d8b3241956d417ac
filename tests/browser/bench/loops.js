// The loops themselves: in a worker, behind the text of lib/seal.js.

const MIB = 2 ** 20;
/** Of a proof of 32 zeros. */
const VERIFIER = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
const key = new Uint8Array(16).fill(7);
const message = () => Message.create(key, new Uint8Array(16).fill(9));
const random = (length) => {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
};
const once = new Map();
/** What is made at the first call, and used again. */
const kept = async (name, make) => once.get(name) ?? once.set(name, await make()).get(name);

/** What a loop leaves to be done after its time is taken. */
const afterwards = [];

async function staged() {
  const folder = await navigator.storage.getDirectory();
  const file = await folder.getFileHandle("bench", { create: true });
  afterwards.push(() => folder.removeEntry("bench"));
  return /** @type {any} */ (file).createSyncAccessHandle();
}

/** Runs `task(0)` … `task(count - 1)`, `width` at a time. */
async function pool(count, width, task) {
  let next = 0;
  const lane = async () => {
    while (next < count) await task(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

// Tus

async function create(plain) {
  const manifest = await sealManifest(key, { v: 1, files: [{ name: "bench", size: plain }] });
  const length = manifest.length + sealedLength(plain);
  const metadata = { manifest: manifest.length, verifier: VERIFIER, expires_in: 3600, downloads: 100 };
  const headers = {
    "tus-resumable": "1.0.0",
    "upload-length": length,
    "upload-metadata": Object.entries(metadata).map(([name, value]) => `${name} ${btoa(value)}`).join(","),
  };
  const answer = await fetch(ORIGIN + "/api/v1/uploads", { method: "POST", headers });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  const { headers: told } = answer;
  return { manifest, length, location: ORIGIN + told.get("location"), id: told.get("share-id"), owner: told.get("owner-token") };
}

const revoke = ({ id, owner }) =>
  afterwards.push(() => fetch(`${ORIGIN}/api/v1/shares/${id}`, { method: "DELETE", headers: { authorization: `Bearer ${owner}` } }));

async function patch(upload, offset, body, by) {
  const headers = {
    "tus-resumable": "1.0.0",
    "upload-offset": `${offset}`,
    "content-type": "application/offset+octet-stream",
  };
  if (by === "fetch") {
    const answer = await fetch(upload.location, { method: "PATCH", headers, body });
    if (answer.status !== 204) throw new Error(`${answer.status} ${await answer.text()}`);
    return;
  }
  const request = new XMLHttpRequest();
  request.open("PATCH", upload.location);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  if (by === "xhr progress") request.upload.onprogress = () => {};
  await new Promise((resolve, reject) => {
    request.onload = () => (request.status === 204 ? resolve() : reject(new Error(`${request.status} ${request.responseText}`)));
    request.onerror = () => reject(new Error("xhr"));
    request.send(body);
  });
}

/** Cuts a run of buffers into parts of exactly `size` bytes. */
class Cutter {
  constructor(size, asBlob, reuse) {
    this.size = size;
    this.asBlob = asBlob;
    // A body is copied when it is given to fetch: two arrays in turn are enough while one part is made and one waits.
    this.spare = reuse ? [new Uint8Array(size), new Uint8Array(size), new Uint8Array(size)] : [];
    this.reuse = reuse;
    this.parts = [];
    this.#begin();
  }
  #begin() {
    this.length = 0;
    this.pieces = [];
    if (this.asBlob) return;
    if (this.reuse) this.spare.push((this.array = this.spare.shift()));
    else this.array = new Uint8Array(this.size);
  }
  push(bytes) {
    while (bytes.length) {
      const taken = bytes.subarray(0, this.size - this.length);
      if (this.asBlob) this.pieces.push(taken);
      else this.array.set(taken, this.length);
      this.length += taken.length;
      bytes = bytes.subarray(taken.length);
      if (this.length === this.size) this.end();
    }
  }
  end() {
    if (!this.length) return;
    this.parts.push(this.asBlob ? new Blob(this.pieces) : this.array.subarray(0, this.length));
    this.#begin();
  }
}

const loops = {
  // One thing alone

  async seal({ bytes, width }) {
    const one = await message();
    const plain = await kept("plain", () => random(16 * MIB));
    const count = Math.floor(bytes / PLAIN);
    await pool(count, width, (i) => {
      const at = (i % 60) * PLAIN;
      return one.seal(i, plain.subarray(at, at + PLAIN), false);
    });
    return count * PLAIN;
  },

  async unseal({ bytes, width }) {
    const one = await message();
    const sealed = await kept("sealed", () => Promise.all(Array.from({ length: 60 }, (_, i) => one.seal(i, new Uint8Array(PLAIN), false))));
    const count = Math.floor(bytes / PLAIN);
    await pool(count, width, (i) => one.unseal(i % 60, sealed[i % 60], false));
    return count * PLAIN;
  },

  async sha256({ bytes, part, width }) {
    const plain = await kept("plain", () => random(16 * MIB));
    await pool(Math.floor(bytes / part), width, () => crypto.subtle.digest("SHA-256", plain.subarray(0, part)));
    return bytes;
  },

  async read({ file, how, size }) {
    const count = Math.ceil(file.size / size);
    const slice = (i) => file.slice(i * size, (i + 1) * size);
    if (how === "slice") for (let i = 0; i < count; i += 1) await slice(i).arrayBuffer();
    if (how === "sync") {
      const reader = new FileReaderSync();
      for (let i = 0; i < count; i += 1) reader.readAsArrayBuffer(slice(i));
    }
    if (how === "stream") for await (const _ of file.stream());
    if (how === "byob") {
      const reader = (globalThis.held = file.stream()).getReader({ mode: "byob" });
      let buffer = new ArrayBuffer(size);
      for (;;) {
        const { value, done } = await reader.read(new Uint8Array(buffer));
        if (done) break;
        buffer = value.buffer;
      }
    }
    return file.size;
  },

  async copy({ bytes }) {
    const from = await kept("plain", () => random(16 * MIB));
    for (let i = 0; i < bytes / from.length; i += 1) new Uint8Array(from.length).set(from);
    return bytes;
  },

  // Sent without being read or sealed

  async put({ file, bytes, part, body, by }) {
    const upload = await create(bytes);
    if (body === "file") {
      await patch(upload, 0, new Blob([file, new Uint8Array(upload.length - file.size)]), by);
    } else {
      const array = random(part);
      for (let at = 0; at < upload.length; at += part) {
        const bytes = array.slice(0, Math.min(part, upload.length - at));
        await patch(upload, at, body === "blob" ? new Blob([bytes]) : bytes, by);
      }
    }
    revoke(upload);
    return bytes;
  },

  // Read, sealed and sent

  async upload(options) {
    const { file, part = 16 * MIB, body = "array", by = "fetch", width = 4, ahead = 1, sha, read = part, byob, reuse, revoked = true } = options;
    const upload = await create(file.size);
    const one = await message();
    const records = Math.max(1, Math.ceil(file.size / PLAIN));
    const group = Math.max(1, Math.floor(read / PLAIN));
    const cutter = new Cutter(part, body === "blob", reuse);
    cutter.push(upload.manifest);
    cutter.push(one.header());
    let [sending, sent] = [Promise.resolve(), 0];
    /** @type {Promise<void>[]} */
    const queue = [];
    const flush = async () => {
      for (const bytes of cutter.parts.splice(0)) {
        const [offset, length] = [sent, bytes.size ?? bytes.length];
        sent += length;
        if (sha) await crypto.subtle.digest("SHA-256", bytes);
        sending = sending.then(() => patch(upload, offset, bytes, by));
        queue.push(sending);
        if (queue.length > ahead) await queue.shift();
      }
    };
    // Chromium 156 collects a file's stream that nothing but a pending byob read holds; the read then never ends.
    const stream = byob && (globalThis.held = file.stream());
    const reader = stream && stream.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(group * PLAIN + 1);
    const fetchGroup = async (first) => {
      if (!byob) return file.slice(first * PLAIN, (first + group) * PLAIN).arrayBuffer();
      const length = Math.min(group * PLAIN, file.size - first * PLAIN);
      let filled = 0;
      while (filled < length) {
        const { value } = await reader.read(new Uint8Array(buffer, filled, length - filled));
        filled += value.length;
        buffer = value.buffer;
      }
      return buffer;
    };
    let reading = fetchGroup(0);
    for (let first = 0; first < records; first += group) {
      const plain = new Uint8Array(await reading);
      if (!byob && first + group < records) reading = fetchGroup(first + group);
      const count = Math.min(group, records - first);
      const sealed = new Array(count);
      await pool(count, width, async (i) => {
        sealed[i] = await one.seal(first + i, plain.subarray(i * PLAIN, Math.min((i + 1) * PLAIN, file.size - first * PLAIN)), first + i === records - 1);
      });
      if (byob && first + group < records) reading = fetchGroup(first + group);
      for (const record of sealed) cutter.push(record);
      await flush();
    }
    cutter.end();
    await flush();
    await sending;
    if (revoked) revoke(upload);
    return revoked ? file.size : upload.id;
  },

  // Fetched, unsealed, written

  async download(options) {
    const { address, size, how = "default", chunk = MIB, range = 16 * MIB, connections = 1, unseal = true, width = 4, write, truncate } = options;
    const plain = plainLength(size);
    const one = await message();
    let handle;
    if (write) {
      handle = await staged();
      if (truncate) handle.truncate(plain);
    }
    const records = Math.ceil((size - HEADER) / RECORD);
    const tasks = new Set();
    let done = 0;
    const record = async (index, sealed) => {
      if (tasks.size >= width) await Promise.race(tasks);
      const task = (async () => {
        const bytes = unseal ? await one.unseal(index, sealed, index === records - 1) : sealed.subarray(17);
        handle?.write(bytes, { at: index * PLAIN });
        done += bytes.length;
      })();
      tasks.add(task);
      task.finally(() => tasks.delete(task));
    };
    let index = 0;
    let [held, room] = [0, new Uint8Array(RECORD)];
    let skip = HEADER;
    /** Puts records together out of pieces of any length. */
    const push = async (bytes) => {
      if (skip) {
        const taken = Math.min(skip, bytes.length);
        [skip, bytes] = [skip - taken, bytes.subarray(taken)];
      }
      while (bytes.length) {
        if (!held && bytes.length >= RECORD) {
          await record(index++, bytes.subarray(0, RECORD));
          bytes = bytes.subarray(RECORD);
          continue;
        }
        const taken = bytes.subarray(0, RECORD - held);
        room.set(taken, held);
        held += taken.length;
        bytes = bytes.subarray(taken.length);
        if (held === RECORD || index * RECORD + held === size - HEADER) {
          await record(index++, room.subarray(0, held));
          [held, room] = [0, new Uint8Array(RECORD)];
        }
      }
    };
    if (how === "default") {
      const { body } = await fetch(address);
      const reader = body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        await push(value);
      }
    } else if (how === "byob" || how === "byob exact") {
      const { body } = await fetch(address);
      const reader = body.getReader({ mode: "byob" });
      if (how === "byob exact") {
        await reader.read(new Uint8Array(HEADER), { min: HEADER });
        for (;;) {
          const { value, done } = await reader.read(new Uint8Array(RECORD), { min: RECORD });
          if (value?.length) await record(index++, value);
          if (done) break;
        }
      } else {
        let buffer = new ArrayBuffer(chunk);
        for (;;) {
          const { value, done } = await reader.read(new Uint8Array(buffer));
          if (done) break;
          await push(value);
          buffer = value.buffer;
        }
      }
    } else {
      // Ranges that hold whole records, so that several connections may fetch at once.
      const each = Math.max(1, Math.floor(range / RECORD));
      await pool(Math.ceil(records / each), connections, async (i) => {
        const from = HEADER + i * each * RECORD;
        const to = Math.min(size, from + each * RECORD);
        const headers = { range: `bytes=${from}-${to - 1}` };
        const bytes = new Uint8Array(await (await fetch(address, { headers })).arrayBuffer());
        for (let at = 0; at < bytes.length; at += RECORD) {
          await record(i * each + at / RECORD, bytes.subarray(at, at + RECORD));
        }
      });
    }
    await Promise.all(tasks);
    if (unseal && done !== plain) throw new Error(`${done} of ${plain}`);
    if (handle) {
      handle.flush();
      handle.close();
    }
    return plain;
  },

  async opfs({ bytes, size }) {
    const handle = await staged();
    const plain = await kept("plain", () => random(16 * MIB));
    for (let at = 0; at < bytes; at += size) handle.write(plain.subarray(0, size), { at });
    handle.flush();
    handle.close();
    return bytes;
  },
};

self.onmessage = async ({ data: { name, options, echo, tidy } }) => {
  if (echo) return postMessage({ echo }, [echo]);
  if (tidy) {
    for (const task of afterwards.splice(0)) await task();
    return postMessage({});
  }
  const from = performance.now();
  try {
    const result = await loops[name](options);
    postMessage({ result, seconds: (performance.now() - from) / 1000 });
  } catch (error) {
    postMessage({ error: String(error?.stack ?? error) });
  }
};
