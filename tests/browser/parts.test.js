import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";

import { Parts } from "../../static/lib/parts.js";
import { ChangedError, Files } from "../../static/lib/reading.js";
import { HEADER, Message, PLAIN, RECORD, randomToken, sealMessage } from "../../static/lib/seal.js";

const key = randomToken();
const salt = randomToken();

const sized = (file) => ({ file, size: file.size });

/** Some bytes, cut into files of these sizes, as one run of sealed bytes: by the parts, and all at once. */
async function sealed(sizes, size, manifest = new Uint8Array(randomBytes(700))) {
  const files = sizes.map((length) => new Blob([randomBytes(length)]));
  const plain = new Uint8Array(await new Blob(files).arrayBuffer());
  const whole = Buffer.concat([manifest, await sealMessage(key, plain, salt)]);
  const parts = async () => new Parts(new Files(files.map(sized)), manifest, await Message.create(key, salt), size);
  return { whole, parts };
}

async function same(sizes, size) {
  const { whole, parts: begin } = await sealed(sizes, size);
  const parts = await begin();
  assert.equal(parts.length, whole.length);
  for (let index = 0; index < parts.count; index += 1) {
    const part = Buffer.from(await (await parts.seal(index)).body.arrayBuffer());
    assert.ok(part.equals(whole.subarray(index * size, (index + 1) * size)), `part ${index} of ${sizes} by ${size}`);
  }
  assert.equal(parts.count, Math.ceil(whole.length / size));
}

describe("parts.js", () => {
  for (const length of [0, 1, PLAIN - 1, PLAIN, PLAIN + 1, 16 * PLAIN, 33 * PLAIN + 5]) {
    it(`${length} bytes become the same parts whatever their size`, async () => {
      for (const size of [300_000, RECORD, 5_000_000, 1 << 24]) await same([length], size);
    });
  }

  it("ends of parts fall into the manifest, into the header, and onto the ends of records", async () => {
    for (const size of [500, 699, 700, 701, 700 + HEADER - 1, 700 + HEADER, 700 + HEADER + RECORD]) await same([size * 5], size);
  });

  it("files follow each other without a gap, empty ones and very many included", async () => {
    await same([0, 1, 0, 0, PLAIN - 1, 5, 0], 100_000);
    await same(Array.from({ length: 3000 }, (_, i) => (i * 7919) % 3000), 1 << 20);
  });

  it("a browser whose files are no byte streams reads the same", async () => {
    const whole = new Blob([randomBytes(9_000_000)]);
    const old = (/** @type {Blob} */ blob) =>
      Object.assign(blob, { stream: () => new ReadableStream(), slice: (from, to) => old(Blob.prototype.slice.call(blob, from, to)) });
    const run = [];
    for await (const piece of new Files([new Blob(["abc"]), old(whole.slice())].map(sized)).from(2, 1000)) run.push(Buffer.from(piece));
    assert.ok(Buffer.concat(run).equals(Buffer.concat([Buffer.from("c"), Buffer.from(await whole.arrayBuffer())])));
  });

  it("a part is the same when it is sealed again, first, or by itself", async () => {
    const size = 1_000_000;
    const { whole, parts: begin } = await sealed([20 * PLAIN, 123, 4 * PLAIN], size);
    const parts = await begin();
    for (const index of [5, 5, 0, 3, 2, 3, 4, 6]) {
      const part = Buffer.from(await (await parts.seal(index)).body.arrayBuffer());
      assert.ok(part.equals(whole.subarray(index * size, (index + 1) * size)), `part ${index}`);
    }
  });

  it("a file that gives fewer bytes than it has, or none, is told from all others", async () => {
    const whole = new Blob([randomBytes(40 * PLAIN)]);
    const unreadable = () => Promise.reject(new DOMException("gone", "NotReadableError"));
    const file = (size, ways) => ({ size, slice: () => file(size, ways), arrayBuffer: async () => new ArrayBuffer(1), ...ways });
    const small = file(10, { arrayBuffer: unreadable });
    const smaller = file(10, { arrayBuffer: async () => new ArrayBuffer(9) });
    const short = file(40 * PLAIN, { stream: () => whole.slice(0, 10 * PLAIN).stream() });
    const broken = file(40 * PLAIN, { stream: () => new ReadableStream({ type: "bytes", pull: unreadable }) });
    const touched = file(40 * PLAIN, { stream: () => whole.stream(), arrayBuffer: unreadable });
    const cases = /** @type {[any[], number][]} */ ([
      [[small], 0],
      [[new Blob(["a"]), smaller, whole], 1],
      [[whole, short], 1],
      [[whole, whole, broken, small], 2],
      [[new Blob(["a"]), touched], 1],
    ]);
    for (const [files, index] of cases) {
      const parts = new Parts(new Files(files.map(sized)), new Uint8Array(9), await Message.create(key, salt), 1 << 24);
      const sealing = async () => {
        for (let part = 0; part < parts.count; part += 1) await parts.seal(part);
      };
      await assert.rejects(sealing, (error) => {
        assert.ok(error instanceof ChangedError);
        assert.deepEqual([error.index, error.code], [index, "changed"]);
        return true;
      });
    }
  });

  it("a large file is looked at once more for its last bytes, too", async () => {
    const size = 40 * PLAIN;
    let looks = 0;
    const gone = async () => {
      looks += 1;
      throw new DOMException("gone", "NotReadableError");
    };
    const file = /** @type {any} */ ({ size, slice: () => file, arrayBuffer: gone });
    await assert.rejects(new Files([sized(file)]).unchanged(size - 10, size), ChangedError);
    assert.equal(looks, 1);
  });
});
