// The sealed content of a claim: fetched by Range, put together into records, unsealed, and handed on in order.
//
// It knows neither the page nor where the plain bytes go.

import { either } from "./abort.js";
import { ApiError, Unreachable, refusal } from "./api.js";
import { Backoff, Watchdog, sleep } from "./network.js";
import { CorruptError, HEADER, Message, RECORD } from "./seal.js";

/** Records that are being unsealed at once. */
const WIDTH = 4;
/** Bytes that are read at a time: fewer and larger reads cost less. */
const BUFFER = 2 ** 20;
/**
 * Bytes that are asked for at first, and after a connection broke; twice as many each time that all of them came. What the
 * server had sent and nobody got is charged to the claim: like this it is never much more than what did arrive since the
 * last break, and all of them together no more than the content once again, which is what the claim allows.
 */
const FIRST = 4 * 2 ** 20;
const AGAIN = 2 ** 20;
/** So many times is a claim whose budget seems spent asked again: what a dead connection reserved is given back. */
const SPENT = 4;
/** So many connections in a row may break off before a byte of the content came: then there are no more bytes. */
const BARREN = 6;
/** Milliseconds that no watchdog sees. */
const NEVER = 2 ** 31 - 1;

/** The stream ends before the content does. */
export class TruncatedError extends Error {
  name = "TruncatedError";
  code = "truncated";
}

export class Content {
  /** The record that is handed on next. */
  next = 0;
  /** Once the header is there. @type {Message | null} */
  #message = null;
  #address;
  #size;
  #key;
  #land;
  #records;
  /** The offset that comes next. */
  #at = 0;
  /** Bytes that are asked for at once. */
  #window = FIRST;
  /** Whether the content began to come. */
  #answered = false;
  /** The record being put together. */
  #room = new Uint8Array(RECORD);
  /** Records being unsealed, from `next` on. @type {Promise<Uint8Array<ArrayBuffer>>[]} */
  #flight = [];

  /**
   * @param {string} address
   * @param {number} size bytes of sealed content
   * @param {Uint8Array<ArrayBuffer>} key
   * @param {(plain: Uint8Array<ArrayBuffer>) => void | Promise<void>} land takes each record's plain bytes, which are verified
   */
  constructor(address, size, key, land) {
    this.#address = address;
    this.#size = size;
    this.#key = key;
    this.#land = land;
    this.#records = Math.max(1, Math.ceil((size - HEADER) / RECORD));
  }

  /** Known once the header is there. */
  get salt() {
    return this.#message?.salt ?? null;
  }

  /**
   * Begins with a later record than the first.
   *
   * @param {number} record
   * @param {Uint8Array<ArrayBuffer>} salt
   */
  async begin(record, salt) {
    this.#message = await Message.create(this.#key, salt);
    this.next = record;
    this.#back();
  }

  /**
   * Receives all that is left, over as many connections as it takes. Called again after it failed, it goes on with the
   * first record that was not handed on.
   *
   * @param {AbortSignal} signal
   * @param {{ begins: () => void, waits: (error: unknown, milliseconds: number) => void }} told bytes come; it waits before it
   *   tries again
   * @throws {CorruptError} a record that does not verify, twice in a row
   * @throws {TruncatedError} fewer bytes than there should be, twice in a row
   */
  async receive(signal, { begins, waits }) {
    const backoff = new Backoff();
    /** Where it went wrong last: the record that did not verify, and the offset after which nothing came. */
    let [faulty, ended] = [-1, -1];
    let [barren, spent] = [0, 0];
    for (;;) {
      signal.throwIfAborted();
      const from = this.#at;
      this.#answered = false;
      try {
        while (this.#at < this.#size) await this.#read(signal, begins);
        return await this.#last();
      } catch (error) {
        signal.throwIfAborted();
        this.#window = AGAIN;
        if (this.#at > from) {
          backoff.reset();
          [barren, spent] = [0, 0];
        }
        if (error instanceof CorruptError) {
          this.#back();
          // The network may have done it: once more from there.
          if (faulty === this.next) throw error;
          faulty = this.next;
        } else if (error instanceof TruncatedError) {
          if (ended === this.#at) throw error;
          ended = this.#at;
        } else {
          if (this.#answered && this.#at === from && ++barren === BARREN) throw new TruncatedError("nothing more comes");
          const isSpent = error instanceof ApiError && error.code === "budget_spent" && ++spent < SPENT;
          const milliseconds = backoff.next(isSpent ? new Unreachable("spent, perhaps") : error);
          waits(error, milliseconds);
          const fixed = isSpent || (error instanceof ApiError && error.retryAfter !== null);
          await sleep(milliseconds, { signal, fixed });
        }
      }
    }
  }

  /** What was taken beyond the last record that was handed on is fetched again. */
  #back() {
    if (this.next === 0) this.#message = null;
    this.#at = this.next === 0 ? 0 : HEADER + this.next * RECORD;
  }

  /**
   * Reads what comes next, over one connection.
   *
   * @param {AbortSignal} signal
   * @param {() => void} begins
   */
  async #read(signal, begins) {
    const connection = new AbortController();
    const both = either(signal, connection.signal);
    const dog = new Watchdog(() => connection.abort());
    /** @template T @param {Promise<T>} answer */
    const reached = (answer) =>
      answer.catch((cause) => {
        signal.throwIfAborted();
        throw new Unreachable("broke off", { cause });
      });
    try {
      const from = this.#at;
      const until = Math.min(this.#size, from + this.#window);
      const answer = await reached(
        fetch(this.#address, {
          headers: { range: `bytes=${from}-${until === this.#size ? "" : until - 1}` },
          cache: "no-store",
          signal: both,
        }),
      );
      if (!answer.ok) throw await refusal(answer);
      checkRange(answer, from, this.#size);
      this.#answered = true;
      begins();
      const read = reader(/** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (answer.body));
      for (;;) {
        dog.feed();
        const { value, done } = await reached(read());
        if (done) break;
        await this.#take(value, until, dog);
      }
      if (this.#at < until) throw new TruncatedError(`ends at ${this.#at} of ${until}`);
      this.#window *= 2;
    } finally {
      dog.stop();
      connection.abort();
      // What came whole is not fetched again.
      while (this.#flight.length > 0) await this.#handOn(dog);
    }
  }

  /**
   * Puts records together, and unseals each that is whole but the last: that one waits for the end of the stream.
   *
   * @param {Uint8Array<ArrayBuffer>} bytes
   * @param {number} until where what was asked for ends
   * @param {Watchdog} dog
   */
  async #take(bytes, until, dog) {
    while (bytes.length > 0) {
      if (this.#at === until) throw new CorruptError("something follows the end");
      const index = Math.floor((this.#at - HEADER) / RECORD);
      const start = index < 0 ? 0 : HEADER + index * RECORD;
      const length = index < 0 ? HEADER : Math.min(RECORD, this.#size - start);
      const held = this.#at - start;
      const taken = bytes.subarray(0, length - held);
      bytes = bytes.subarray(taken.length);
      const direct = taken.length === length && index < this.#records - 1;
      if (!direct) this.#room.set(taken, held);
      this.#at += taken.length;
      if (held + taken.length < length) return;
      const unit = direct ? taken : this.#room.subarray(0, length);
      if (index < 0) this.#message = await Message.create(this.#key, Message.readHeader(unit).salt);
      else if (index < this.#records - 1) this.#unseal(index, unit);
      if (this.#flight.length >= WIDTH) await this.#handOn(dog);
    }
  }

  /** Everything is there. */
  async #last() {
    if (this.next === this.#records) return;
    const last = this.#records - 1;
    this.#unseal(last, this.#room.subarray(0, this.#size - HEADER - last * RECORD));
    await this.#handOn();
  }

  /** @param {number} index @param {Uint8Array<ArrayBuffer>} sealed read before this returns */
  #unseal(index, sealed) {
    const message = /** @type {Message} */ (this.#message);
    const plain = message.unseal(index, sealed, index === this.#records - 1);
    plain.catch(() => {});
    this.#flight.push(plain);
  }

  /** Hands on the record that comes first. @param {Watchdog} [dog] */
  async #handOn(dog) {
    try {
      const plain = await /** @type {Promise<Uint8Array<ArrayBuffer>>} */ (this.#flight.shift());
      const landing = this.#land(plain);
      if (landing) {
        // A connection that is not being read is not silent.
        dog?.feed(NEVER);
        await landing;
      }
      this.next += 1;
    } catch (error) {
      this.#flight = [];
      this.#back();
      throw error;
    }
  }
}

/**
 * @param {Response} answer
 * @param {number} from where it should begin
 * @param {number} size of the whole
 */
function checkRange(answer, from, size) {
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers.get("content-range") ?? "");
  // A portal's page, for instance.
  if (answer.status !== 206 || !range) throw new Unreachable("an answer of somebody else");
  const [start, total] = [Number(range[1]), Number(range[2])];
  if (total < size) throw new TruncatedError(`${total} of ${size} bytes`);
  if (start !== from || total > size) throw new CorruptError("other bytes than were asked for");
}

/**
 * Reads what comes. A piece is good until the next is asked for.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {() => Promise<{ done: false, value: Uint8Array<ArrayBuffer> } | { done: true, value: any }>}
 */
function reader(body) {
  /** @type {any} */
  let reader;
  try {
    // The quickest way: nothing is allocated.
    reader = body.getReader({ mode: "byob" });
  } catch {
    const plain = body.getReader();
    return () => plain.read();
  }
  let buffer = new ArrayBuffer(BUFFER);
  return async () => {
    const result = await reader.read(new Uint8Array(buffer));
    if (result.value) buffer = result.value.buffer;
    return result;
  };
}
