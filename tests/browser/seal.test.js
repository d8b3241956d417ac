import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { describe, it } from "node:test";

import {
  CorruptError,
  HEADER,
  MANIFEST_MAX,
  Message,
  PLAIN,
  RECORD,
  decode,
  deriveKeys,
  encode,
  openManifest,
  openMessage,
  plainLength,
  randomToken,
  sealManifest,
  sealMessage,
  sealedLength,
} from "../../static/lib/seal.js";

const { vectors } = JSON.parse(await readFile(new URL("../vectors/seal-v1.json", import.meta.url), "utf8"));
const utf8 = new TextEncoder();
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
/** The plain bytes of the vectors. */
const content = (length) => Uint8Array.from({ length }, (_, i) => 31 * i + Math.floor(i / 251));

describe("format v1", () => {
  for (const vector of vectors) {
    const name = vector.password ? `under the password ${vector.password}` : "without a password";
    it(`derives the keys of the vectors, ${name}`, async () => {
      const keys = await deriveKeys(decode(vector.secret), vector.password ?? undefined);
      const { content, manifest, proof, verifier } = vector;
      assert.deepEqual(
        { content: encode(keys.content), manifest: encode(keys.manifest), proof: encode(keys.proof), verifier: keys.verifier },
        { content, manifest, proof, verifier },
      );
    });

    for (const message of vector.content_messages) {
      it(`seals and opens the ${message.plain_length} bytes of the vectors, ${name}`, async () => {
        const [key, plain] = [decode(vector.content), content(message.plain_length)];
        const sealed = await sealMessage(key, plain, decode(message.salt));
        assert.equal(sha256(plain), message.plain_sha256);
        assert.equal(sealed.length, message.sealed_length);
        assert.equal(sha256(sealed), message.sealed_sha256);
        assert.deepEqual(await openMessage(key, sealed), plain);
      });
    }

    it(`seals and opens the manifest of the vectors, ${name}`, async () => {
      const { salt, plain, sealed } = vector.manifest_message;
      const key = decode(vector.manifest);
      assert.equal(encode(await sealManifest(key, JSON.parse(plain), decode(salt))), sealed);
      assert.deepEqual(await openManifest(key, decode(sealed), 123), JSON.parse(plain));
    });
  }

  it("takes a password in any Unicode form, and none for an empty one", async () => {
    const secret = randomToken();
    const verifier = async (password) => (await deriveKeys(secret, password)).verifier;
    assert.equal(await verifier("e\u0301"), await verifier("\u00e9"));
    assert.equal(await verifier(""), await verifier());
    assert.notEqual(await verifier("\u00e9"), await verifier());
    await assert.rejects(deriveKeys(new Uint8Array(15)), RangeError);
  });

  it("knows the length of every message beforehand", () => {
    assert.equal(RECORD, PLAIN + 17);
    for (const [plain, sealed] of [[0, 38], [1, 39], [PLAIN, HEADER + RECORD], [PLAIN + 1, HEADER + RECORD + 18]]) {
      assert.equal(sealedLength(plain), sealed);
      assert.equal(plainLength(sealed), plain);
    }
    for (const impossible of [0, 37, HEADER + RECORD + 17, HEADER + 2 * RECORD + 16, 38.5, -1, NaN]) {
      assert.equal(plainLength(impossible), null, `${impossible}`);
    }
  });

  it("computes lengths without rounding, up to 2^53", () => {
    const exact = (plain) => {
      const records = (BigInt(plain) + BigInt(PLAIN - 1)) / BigInt(PLAIN);
      return Number(BigInt(HEADER) + BigInt(plain) + 17n * (records || 1n));
    };
    const most = Math.floor(Number.MAX_SAFE_INTEGER / RECORD) - 1;
    for (const records of [1, 2, 16_384, 2 ** 20 + 1, 2 ** 32 + 1, most - 1, most]) {
      for (const plain of [-1, 0, 1].map((off) => records * PLAIN + off)) {
        assert.equal(sealedLength(plain), exact(plain), `${plain}`);
        assert.equal(plainLength(exact(plain)), plain, `${plain}`);
      }
      assert.equal(plainLength(HEADER + records * RECORD + 17), null, `${records}`);
    }
  });
});

describe("base64url", () => {
  it("goes there and back for every length", () => {
    for (let length = 0; length < 20; length += 1) {
      const bytes = crypto.getRandomValues(new Uint8Array(length));
      assert.equal(encode(bytes), Buffer.from(bytes).toString("base64url"));
      assert.deepEqual(decode(encode(bytes)), bytes);
    }
    const long = content(1_000_001);
    assert.deepEqual(decode(encode(long)), long);
  });

  it("takes no second spelling", () => {
    for (const text of ["A", "AA==", "AB", "AAB", "A+", "+/+/", "AA\n", " AA", "AAAA=", "ÄÄ", "AAAAA", "AAA."]) {
      assert.throws(() => decode(text), SyntaxError, JSON.stringify(text));
    }
  });
});

describe("a record", () => {
  it("seals the same from the middle of a buffer, at its end, and from a buffer of its own", async () => {
    const message = await Message.create(randomToken(), randomToken());
    const plain = content(PLAIN);
    const room = new Uint8Array(3 + PLAIN + 5).fill(0xee);
    room.set(plain, 3);
    const sealed = await Promise.all([
      message.seal(5, plain, false),
      message.seal(5, plain.buffer, false),
      message.seal(5, room.subarray(3, 3 + PLAIN), false),
    ]);
    assert.equal(new Set(sealed.map(sha256)).size, 1);
    assert.deepEqual(room.subarray(3 + PLAIN), new Uint8Array(5).fill(0xee));
  });

  it("has read what it seals or unseals as soon as the call returns", async () => {
    const message = await Message.create(randomToken(), randomToken());
    const buffer = content(PLAIN + 1);
    const expected = await message.seal(0, content(PLAIN), false);
    const sealing = message.seal(0, buffer.subarray(0, PLAIN), false);
    assert.deepEqual(buffer, content(PLAIN + 1));
    buffer.fill(0);
    const sealed = await sealing;
    assert.deepEqual(sealed, expected);
    const unsealing = message.unseal(0, sealed, false);
    sealed.fill(0);
    assert.deepEqual(await unsealing, content(PLAIN));
  });

  it("opens in any order, and nowhere but in its place", async () => {
    const message = await Message.create(randomToken(), randomToken());
    const indexes = [0, 1, 255, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 45];
    const sealed = await Promise.all(indexes.map((index) => message.seal(index, utf8.encode(`${index}`), true)));
    for (const [at, index] of indexes.entries()) {
      assert.deepEqual(await message.unseal(index, sealed[at], true), utf8.encode(`${index}`));
      await assert.rejects(message.unseal(index, sealed[(at + 1) % sealed.length], true), CorruptError);
    }
  });

  it("has the nonce of RFC 8188 §2.3, above 2^32 too", async () => {
    const [key, salt] = [randomToken(), randomToken()];
    const sealed = await (await Message.create(key, salt)).seal(2 ** 40 + 2 ** 31 + 3, utf8.encode("x"), true);
    const material = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
    const derive = (info, bits) =>
      crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info: utf8.encode(`Content-Encoding: ${info}\0`) }, material, bits);
    const iv = Buffer.from(await derive("nonce", 96));
    iv.writeBigUInt64BE(iv.readBigUInt64BE(4) ^ (2n ** 40n + 2n ** 31n + 3n), 4);
    const cek = await crypto.subtle.importKey("raw", await derive("aes128gcm", 128), "AES-GCM", false, ["decrypt"]);
    const plain = await crypto.subtle.decrypt({ name: "AES-GCM", iv }, cek, sealed);
    assert.equal(Buffer.from(plain).toString(), "x\x02");
  });

  it("is not sealed at a length that it can't have", async () => {
    const message = await Message.create(randomToken(), randomToken());
    await assert.rejects(message.seal(0, new Uint8Array(PLAIN + 1), true), RangeError);
    await assert.rejects(message.seal(0, new Uint8Array(PLAIN - 1), false), RangeError);
    await assert.rejects(Message.create(new Uint8Array(15), randomToken()), RangeError);
    await assert.rejects(Message.create(randomToken(), new Uint8Array(12)), RangeError);
  });

  it("is refused with any byte changed, with padding, unmarked, cut off or as another's place", async () => {
    const message = await Message.create(randomToken(), randomToken());
    const sealed = await message.seal(0, utf8.encode("hello"), true);
    const refused = (bytes, last = true) => assert.rejects(message.unseal(0, bytes, last), CorruptError);
    for (let at = 0; at < sealed.length; at += 1) {
      await refused(sealed.with(at, sealed[at] ^ 1));
      await refused(sealed.subarray(0, at));
    }
    await refused(new Uint8Array([...sealed, 0]));
    await refused(new Uint8Array(RECORD + 1));
    const full = await message.seal(0, new Uint8Array(PLAIN), true);
    await refused(full, false);
    await refused(await message.seal(0, new Uint8Array(PLAIN), false), true);
    const padded = await message.seal(0, utf8.encode("hello\x02\0"), true);
    await refused(padded.subarray(0, -1));
  });
});

describe("a message", () => {
  const key = randomToken();

  it("opens at every length around its records' ends", async () => {
    for (const length of [0, 1, PLAIN - 1, PLAIN, PLAIN + 1, 2 * PLAIN]) {
      const sealed = await sealMessage(key, content(length));
      assert.equal(sealed.length, sealedLength(length));
      assert.deepEqual(await openMessage(key, sealed), content(length), `${length}`);
    }
  });

  it("has a salt of its own each time", async () => {
    const [one, other] = await Promise.all([1, 2].map(() => sealMessage(key, content(9))));
    assert.notDeepEqual(one.subarray(0, 16), other.subarray(0, 16));
  });

  it("opens RFC 8188's own, whose records are of other sizes, padded, and named", async () => {
    for (const [key, message] of [
      [
        "yqdlZ-tYemfogSmv7Ws5PQ",
        "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg",
      ],
      [
        "BO3ZVPxUlnLORbVGMpbT1Q",
        "uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA",
      ],
    ]) {
      const plain = await openMessage(decode(key), decode(message));
      assert.equal(new TextDecoder().decode(plain), "I am the walrus");
    }
  });

  it("is refused with a byte changed or missing anywhere, under another key, and with bytes behind its end", async () => {
    const sealed = await sealMessage(key, utf8.encode("a short one"));
    const refused = (bytes) => assert.rejects(openMessage(key, bytes), CorruptError);
    for (let at = 0; at < sealed.length; at += 1) {
      // What `rs` says does not matter to a single record that fits.
      if (at < 16 || at > 19) await refused(sealed.with(at, sealed[at] ^ 0x10));
      await refused(sealed.subarray(0, at));
    }
    await refused(new Uint8Array([...sealed, 0]));
    await refused(new Uint8Array([...sealed, ...sealed.subarray(HEADER)]));
    await assert.rejects(openMessage(randomToken(), sealed), CorruptError);
  });

  it("is refused when records are missing, swapped, or follow the last", async () => {
    const salt = randomToken();
    const message = await Message.create(key, salt);
    const head = message.header();
    const record = (index, last) => message.seal(index, new Uint8Array(PLAIN), last);
    const [first, second, early, third] = await Promise.all([record(0, false), record(1, false), record(1, true), record(2, true)]);
    const joined = (...parts) => new Uint8Array(Buffer.concat(parts));
    assert.equal((await openMessage(key, joined(head, first, second, third))).length, 3 * PLAIN);
    for (const parts of [
      [head, first],
      [head, first, second],
      [head, second, first, third],
      [head, first, third],
      [head, first, early, third],
      [head, first, second, third, new Uint8Array(5)],
      [head, first, second, third, third],
      [head, first, second.subarray(1), third],
    ]) {
      await assert.rejects(openMessage(key, joined(...parts)), CorruptError);
    }
  });

  it("is refused when all of a record is padding, or rs leaves no room", async () => {
    const message = await Message.create(key, randomToken(), 30);
    const zeros = (await message.seal(0, new Uint8Array(13), true)).length;
    assert.equal(zeros, 30);
    const header = message.header();
    await assert.rejects(openMessage(key, header), CorruptError);
    for (const rs of [0, 17]) {
      new DataView(header.buffer).setUint32(16, rs);
      await assert.rejects(openMessage(key, new Uint8Array([...header, ...new Uint8Array(40)])), CorruptError);
    }
  });

  it("has a header that a reader of content takes only as format v1 has it", async () => {
    const message = await Message.create(key, randomToken());
    const header = message.header();
    assert.deepEqual(Message.readHeader(header), { salt: message.salt });
    assert.deepEqual(Message.readHeader(new Uint8Array([9, ...header, 7]).subarray(1)), { salt: message.salt });
    for (const changed of [header.with(20, 1), header.with(19, 1), header.with(16, 1), header.subarray(0, 20)]) {
      assert.throws(() => Message.readHeader(changed), CorruptError);
    }
  });
});

describe("a manifest", () => {
  const key = randomToken();
  const file = { name: "a.pdf", type: "application/pdf", size: 3 };
  const sealJson = (value) => sealMessage(key, utf8.encode(typeof value === "string" ? value : JSON.stringify(value)));

  it("comes back as it was, unknown things and all", async () => {
    /** @type {any[]} */
    const manifests = [
      { v: 1, files: [file], note: "für dich 🎉" },
      { v: 1, files: [{ name: "d/ü.txt", type: "", size: 0, crc32: 0xffff_ffff, kind: "text" }, file] },
      { v: 1, files: [{ name: "stdin" }] },
      { v: 1, files: [{ ...file, kind: "of a later version", more: [] }], else: {} },
    ];
    for (const manifest of manifests) {
      assert.deepEqual(await openManifest(key, await sealManifest(key, manifest)), manifest);
    }
  });

  it("says how long a file of unknown size is, and that sizes must add up", async () => {
    const alone = await sealManifest(key, { v: 1, files: [{ name: "stdin" }] });
    assert.equal((await openManifest(key, alone, 7)).files[0].size, 7);
    const two = await sealManifest(key, { v: 1, files: [file, file] });
    assert.equal((await openManifest(key, two, 6)).files.length, 2);
    await assert.rejects(openManifest(key, two, 5), { code: "wrong_length" });
    const most = { ...file, size: Number.MAX_SAFE_INTEGER };
    await assert.rejects(openManifest(key, await sealJson({ v: 1, files: [most, most] }), 6), { code: "wrong_length" });
  });

  it("of a version to come is told apart, whatever its shape", async () => {
    for (const manifest of [{ v: 2 }, { v: 2, files: "none" }]) {
      await assert.rejects(openManifest(key, await sealJson(manifest)), { code: "unknown_version" });
    }
  });

  it("of another shape is refused, to write as to read", async () => {
    /** @type {any[]} */
    const manifests = [
      null,
      [],
      {},
      { files: [file] },
      { v: "1", files: [file] },
      { v: 1 },
      { v: 1, files: [] },
      { v: 1, files: { 0: file } },
      { v: 1, files: [null] },
      { v: 1, files: [{ ...file, name: "" }] },
      { v: 1, files: [{ ...file, name: 1 }] },
      { v: 1, files: [{ ...file, type: 1 }] },
      { v: 1, files: [{ ...file, kind: {} }] },
      { v: 1, files: [{ ...file, size: -1 }] },
      { v: 1, files: [{ ...file, size: 1.5 }] },
      { v: 1, files: [{ ...file, size: 2 ** 53 }] },
      { v: 1, files: [{ ...file, size: "3" }] },
      { v: 1, files: [{ ...file, crc32: 2 ** 32 }] },
      { v: 1, files: [file, { name: "b" }] },
      { v: 1, files: [file], note: 1 },
    ];
    for (const manifest of manifests) {
      const which = JSON.stringify(manifest);
      await assert.rejects(openManifest(key, await sealJson(manifest)), { code: "not_a_manifest" }, which);
      await assert.rejects(sealManifest(key, manifest), { name: "ManifestError" }, which);
    }
    const lone = '{"v":1,"files":[{"name":"\\ud800"}]}';
    for (const text of ["", "{", "\ufeff{}", lone, '{"v":1,"files":[{"name":"a"}]}x']) {
      await assert.rejects(openManifest(key, await sealJson(text)), { code: "not_a_manifest" }, text);
    }
    const latin1 = new Uint8Array(Buffer.from('{"v":1,"files":[{"name":"\xfc"}]}', "latin1"));
    await assert.rejects(openManifest(key, await sealMessage(key, latin1)), { code: "not_a_manifest" });
  });

  it("is never written with half a character, which strict readers refuse", async () => {
    const sealed = await sealManifest(key, { v: 1, files: [{ name: "a\ud83c", size: 0 }], note: "\udf89!" });
    const { files, note } = await openManifest(key, sealed);
    assert.deepEqual([files[0].name, note], ["a\ufffd", "\ufffd!"]);
  });

  it("has 1 MiB sealed, and not a byte more", async () => {
    const note = (length) => ({ v: /** @type {1} */ (1), files: [file], note: "n".repeat(length) });
    const frame = utf8.encode(JSON.stringify(note(0))).length;
    const most = /** @type {number} */ (plainLength(MANIFEST_MAX)) - frame;
    const sealed = await sealManifest(key, note(most));
    assert.equal(sealed.length, MANIFEST_MAX);
    assert.equal((await openManifest(key, sealed)).note?.length, most);
    await assert.rejects(sealManifest(key, note(most + 1)), { code: "manifest_too_long" });
  });
});
