import assert from "node:assert/strict";
import { describe, it } from "node:test";

import {
  HEADER,
  Message,
  PLAIN,
  RECORD,
  decode,
  deriveKeys,
  encode,
  openManifest,
  plainLength,
  randomToken,
  sealManifest,
  sealMessage,
  sealedLength,
} from "../../static/lib/seal.js";
import { openWithNode, openWithPython, sealWithNode, sealWithPython } from "./interop.js";

const linkOf = (secret) => `http://127.0.0.1/s/${"0".repeat(32)}#${encode(secret)}`;
const content = (length) => Uint8Array.from({ length }, (_, i) => 7 * i + (i >> 9));
/** A password of more than ASCII, whose letters are composed only by NFC. */
const PASSWORD = "pa\u0308sswo\u0308rd 🔑";
const note = "für dich 🎉";
const files = (...sizes) => sizes.map((size, i) => ({ name: `Ordner/${i} ü.bin`, type: "application/octet-stream", content: content(size) }));

const cases = [
  { what: "no byte", files: files(0) },
  { what: "a byte", files: files(1) },
  { what: "a record less a byte", files: files(PLAIN - 1) },
  { what: "a record", files: files(PLAIN) },
  { what: "a record and a byte", files: files(PLAIN + 1) },
  { what: "three records and more, of four files", files: files(300_000, 0, PLAIN, 299_999), note },
  { what: "a text", files: [{ name: "text.txt", type: "text/plain", kind: "text", content: content(100) }], note },
];

/** As the page seals: records of a message, each on its own. */
async function seal(secret, password, files, note) {
  const keys = await deriveKeys(secret, password);
  const named = files.map(({ content, ...file }) => ({ ...file, size: content.length }));
  const manifest = await sealManifest(keys.manifest, { v: 1, files: named, ...(note && { note }) });
  const sealed = await sealMessage(keys.content, new Uint8Array(Buffer.concat(files.map(({ content }) => content))));
  return { manifest, content: sealed, proof: keys.proof, verifier: keys.verifier };
}

/** As the page opens: strictly, record by record. */
async function open(secret, password, sealed) {
  const keys = await deriveKeys(secret, password);
  const length = plainLength(sealed.content.length);
  const manifest = await openManifest(keys.manifest, sealed.manifest, length);
  const message = await Message.create(keys.content, Message.readHeader(sealed.content).salt);
  const count = Math.ceil((sealed.content.length - HEADER) / RECORD);
  const records = Array.from({ length: count }, (_, i) =>
    message.unseal(i, sealed.content.subarray(HEADER + i * RECORD, HEADER + (i + 1) * RECORD), i === count - 1),
  );
  const plain = Buffer.concat(await Promise.all(records));
  let at = 0;
  const files = manifest.files.map(({ size, ...file }) => ({ ...file, content: new Uint8Array(plain.subarray(at, (at += size))) }));
  return { files, note: manifest.note, verifier: keys.verifier };
}

/** @param {{ files: any[], note?: string }} opened */
const plain = ({ files, note }) => ({ files: files.map((file) => ({ ...file, content: new Uint8Array(file.content) })), note });

for (const [library, openWith, sealWith] of /** @type {const} */ ([
  ["npm's http_ece", openWithNode, sealWithNode],
  ["PyPI's http_ece", openWithPython, sealWithPython],
])) {
  describe(library, () => {
    for (const { what, files, note } of cases) {
      for (const password of [undefined, PASSWORD]) {
        const how = password ? " under a password" : "";
        it(`opens ${what} that we sealed${how}`, async () => {
          const secret = randomToken();
          const sealed = await seal(secret, password, files, note);
          const opened = await openWith(linkOf(secret), password, sealed);
          assert.deepEqual(plain(opened), { files, note });
          assert.deepEqual([opened.proof, opened.verifier], [encode(sealed.proof), sealed.verifier]);
        });

        // It makes a message without a record of no bytes, which a reader must refuse.
        if (sealWith === sealWithPython && what === "no byte") continue;
        it(`seals ${what} that we open${how}`, async () => {
          const secret = encode(randomToken());
          const sealed = await sealWith(secret, password, files, note);
          const length = files.reduce((sum, { content }) => sum + content.length, 0);
          assert.equal(sealed.content.length, sealedLength(length));
          const opened = await open(decode(secret), password, sealed);
          assert.deepEqual(plain(opened), { files, note });
          assert.equal(opened.verifier, sealed.verifier);
        });
      }
    }

    it("refuses what we sealed under another password, or with a byte changed", async () => {
      const secret = randomToken();
      const sealed = await seal(secret, PASSWORD, files(9));
      const wrong = /unable to authenticate|Decryption error/;
      const refused = (password, sealed) => assert.rejects(async () => openWith(linkOf(secret), password, sealed), wrong);
      await refused(undefined, sealed);
      await refused(`${PASSWORD}.`, sealed);
      await refused(PASSWORD, { ...sealed, content: sealed.content.with(30, sealed.content[30] ^ 1) });
    });
  });
}
