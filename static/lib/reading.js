// Reads many files as one run of bytes, from anywhere in it, with no copy but those the browser makes.

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
/** @typedef {{ file: Blob, size: number }} Sized a file, and the bytes that it had when it was chosen */
/** @typedef {{ index: number, file: Blob, size: number, all: number }} Slice of which file, from where on, and the bytes of all of it */

/** Bytes that are read before any of them is given out. */
const UNIT = 4 << 20;
/** Files up to this size, in bytes, are read whole, some at once: opening them is what takes long. */
const SMALL = 1 << 20;
const OPEN = 16;

/** A file that can't be read, or is not as long as it was: it was changed, moved or removed. */
export class ChangedError extends Error {
  name = "ChangedError";
  /** For the words that people read. */
  code = "changed";

  /**
   * @param {number} index which of the files
   * @param {unknown} [cause]
   */
  constructor(index, cause) {
    super(`file ${index} is not what it was`, { cause });
    this.index = index;
  }
}

/** The bytes of some files, one after the other. */
export class Files {
  #files;

  /** @param {readonly Sized[]} files */
  constructor(files) {
    this.#files = files;
    /** Bytes in all. */
    this.length = files.reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Everything from `position` on, in pieces of `length` bytes, the last of which may have fewer.
   *
   * A piece is good until the next is asked for. Behind it lies a byte that may be written over meanwhile.
   *
   * @param {number} position
   * @param {number} length
   * @returns {AsyncGenerator<Bytes, undefined, void>}
   * @throws {ChangedError}
   */
  async *from(position, length) {
    let left = this.length - position;
    const unit = Math.min(Math.ceil(UNIT / length) * length, left);
    let buffer = new ArrayBuffer(unit + 1);
    let [filled, full] = [0, unit];
    for (const { index, file, size, small } of this.#opened(position)) {
      const pull = small ? whole(small) : puller(file);
      try {
        for (let rest = size; rest > 0; ) {
          const bytes = await pull(new Uint8Array(buffer, filled, Math.min(full - filled, rest))).catch((error) => {
            throw new ChangedError(index, error);
          });
          if (bytes.length === 0) throw new ChangedError(index);
          buffer = bytes.buffer;
          filled += bytes.length;
          rest -= bytes.length;
          if (filled < full) continue;
          for (let at = 0; at < filled; at += length) yield new Uint8Array(buffer, at, Math.min(length, filled - at));
          left -= filled;
          [filled, full] = [0, Math.min(unit, left)];
        }
      } finally {
        pull(null).catch(() => {});
      }
    }
  }

  /**
   * Sees whether the files that lie between two positions are still what they were.
   *
   * A browser compares a file's time when it opens it, and not while it reads on.
   *
   * @param {number} from
   * @param {number} to
   * @throws {ChangedError}
   */
  async unchanged(from, to) {
    const looks = [];
    for (const { index, file, size, all } of this.#slices(from)) {
      if (from >= to) break;
      from += size;
      // What is small was read whole when it was opened.
      if (all > SMALL) looks.push(opens(file, index));
    }
    await Promise.all(looks);
  }

  /**
   * Begins to read small files before it is their turn.
   *
   * @param {number} position
   */
  *#opened(position) {
    /** @type {(Slice & { small?: Promise<ArrayBuffer> })[]} */
    const queue = [];
    for (const slice of this.#slices(position)) {
      const small = slice.size <= SMALL ? slice.file.arrayBuffer() : undefined;
      // A failure is told to whoever waits for these bytes.
      small?.catch(() => {});
      queue.push({ ...slice, small });
      if (queue.length === OPEN) yield /** @type {Slice & { small?: Promise<ArrayBuffer> }} */ (queue.shift());
    }
    yield* queue;
  }

  /**
   * @param {number} position
   * @returns {Generator<Slice, void, void>}
   */
  *#slices(position) {
    let start = 0;
    for (const [index, { file, size }] of this.#files.entries()) {
      const from = Math.max(0, position - start);
      // A slice takes longer to make than a small file to read.
      if (from < size) yield { index, file: from > 0 ? file.slice(from, size) : file, size: size - from, all: size };
      start += size;
    }
  }
}

/**
 * @param {Blob} file
 * @param {number} index
 */
async function opens(file, index) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch (error) {
    throw new ChangedError(index, error);
  }
}

/** @typedef {(view: Bytes | null) => Promise<Bytes>} Pull fills a view as far as bytes come at once; null: no more */

/**
 * @param {Promise<ArrayBuffer>} content
 * @returns {Pull}
 */
function whole(content) {
  let at = 0;
  return async (view) => {
    if (!view) return new Uint8Array();
    const bytes = new Uint8Array(await content).subarray(at, at + view.length);
    view.set(bytes);
    at += bytes.length;
    return view.subarray(0, bytes.length);
  };
}

/** Files' streams under way: Chromium collects one that nothing but a pending read holds, and that read never ends. */
const held = new Set();

/**
 * @param {Blob} file
 * @returns {Pull}
 */
function puller(file) {
  const stream = file.stream();
  /** @type {ReadableStreamBYOBReader} */
  let reader;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    // Not in every browser.
    let at = 0;
    return async (view) => {
      if (!view) return new Uint8Array();
      const end = at + view.length;
      const pull = whole(file.slice(at, end).arrayBuffer());
      at = end;
      return pull(view);
    };
  }
  held.add(stream);
  return async (view) => {
    if (!view) {
      held.delete(stream);
      await reader.cancel();
      return new Uint8Array();
    }
    const { value } = await reader.read(view);
    return value ?? new Uint8Array();
  };
}
