import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { crc32 as zlibCrc32 } from "node:zlib";

import { crc32, fileName, layout, safeName, uniqueNames } from "../../static/lib/zip.js";

const run = promisify(execFile);
const utf8 = new TextEncoder();
const bytes = (length, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * seed) ^ (i >> 8));

/** A zip as a stream writes it: each byte once, from front to back. */
function streamed(files, options) {
  const zip = layout(files.map(({ name, content, crc32 }) => ({ name, size: content.length, crc32 })), options);
  const parts = [];
  for (const [index, entry] of zip.entries.entries()) {
    const { content } = files[index];
    parts.push(zip.header(entry), content);
    entry.crc32 ??= crc32(content);
    if (entry.described) parts.push(zip.descriptor(entry));
  }
  const whole = Buffer.concat([...parts, ...zip.tail()]);
  assert.equal(whole.length, zip.size);
  return whole;
}

describe("a zip", () => {
  let folder;
  before(async () => (folder = await mkdtemp(join(tmpdir(), "onetimeshare-test-"))));
  after(() => rm(folder, { recursive: true }));

  /** Names and contents as Python reads them, after it has checked every CRC; and unzip's opinion. */
  async function unpacked(path) {
    const code =
      "import json, sys, zipfile\n" +
      "zip = zipfile.ZipFile(sys.argv[1])\n" +
      "assert zip.testzip() is None\n" +
      "print(json.dumps([[i.filename, zip.read(i).hex(), i.is_dir()] for i in zip.infolist()]))";
    const { stdout } = await run("python3", ["-c", code, path], { maxBuffer: 2 ** 28 });
    await run("unzip", ["-tqq", path]);
    return JSON.parse(stdout).map(([name, hex, isFolder]) => {
      assert.equal(isFolder, false);
      return { name, content: new Uint8Array(Buffer.from(hex, "hex")) };
    });
  }

  const fifty = Array.from({ length: 50 }, (_, i) => ({
    name: i % 2 ? `Größe/Müller ${i} 🎉.txt` : `日本/${i}/naïve – ${i}.bin`,
    content: bytes((i * 37) % 1000, i),
  }));
  const known = fifty.map((file) => ({ ...file, crc32: crc32(file.content) }));

  it("is opened by others, with umlauts, emoji, folders and empty files", async () => {
    const path = join(folder, "known.zip");
    await writeFile(path, streamed(known));
    assert.deepEqual(await unpacked(path), fifty);
  });

  it("is opened by others where CRCs stand behind the files", async () => {
    const path = join(folder, "descriptors.zip");
    const half = fifty.map((file, i) => (i % 3 ? file : known[i]));
    const zip = streamed(half, { descriptors: true });
    await writeFile(path, zip);
    assert.deepEqual(await unpacked(path), fifty);
    assert.notEqual(zip.length, streamed(known).length);
  });

  it("is opened by others when it was written in any order, and its CRCs last", async () => {
    const path = join(folder, "patched.zip");
    const zip = layout(fifty.map(({ name, content }) => ({ name, size: content.length })));
    const file = await open(path, "w");
    await file.truncate(zip.size);
    for (const [index, entry] of [...zip.entries.entries()].reverse()) {
      assert.equal(entry.described, false);
      await file.write(fifty[index].content, 0, null, entry.data);
      await file.write(zip.header(entry), 0, null, entry.header);
    }
    assert.throws(() => [...zip.tail()], /not known/);
    for (const [index, entry] of zip.entries.entries()) {
      entry.crc32 = crc32(fifty[index].content);
      const crc = new Uint8Array(4);
      new DataView(crc.buffer).setUint32(0, entry.crc32, true);
      await file.write(crc, 0, null, entry.crc);
    }
    let at = zip.directory;
    for (const piece of zip.tail()) at += (await file.write(piece, 0, null, at)).bytesWritten;
    await file.close();
    assert.equal(at, zip.size);
    assert.deepEqual(await unpacked(path), fifty);
    assert.deepEqual(await readAll(path), new Uint8Array(streamed(known)));
  });

  it("of more files than 16 bits count is opened by others", async () => {
    const path = join(folder, "many.zip");
    const files = Array.from({ length: 65_536 }, (_, i) => ({ name: `${i}`, content: utf8.encode(`${i % 7}`), crc32: 0 }));
    for (const file of files) file.crc32 = crc32(file.content);
    await writeFile(path, streamed(files));
    const { stdout } = await run("python3", ["-c", "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(len(z.infolist()), z.testzip(), z.read('65535').decode())", path]);
    assert.equal(stdout, `65536 None ${65_535 % 7}\n`);
    await run("unzip", ["-tqq", path]);
  });

  it("with a file of more than 4 GiB, and another behind it, is read by others, zip64 fields and all", async () => {
    const big = 2 ** 32 + 5;
    for (const descriptors of [false, true]) {
      const path = join(folder, `big-${descriptors}.zip`);
      const zip = layout([{ name: "big", size: big }, { name: "ü", size: 3 }, { name: "edge", size: 0xffff_fffe, crc32: 0 }], { descriptors });
      // The big files are holes: nothing reads them, and what stands around them is what is tested.
      const file = await open(path, "w");
      await file.truncate(zip.size);
      const [first, second] = zip.entries;
      first.crc32 = 0;
      second.crc32 = crc32(utf8.encode("abc"));
      for (const entry of zip.entries) {
        await file.write(zip.header(entry), 0, null, entry.header);
        if (entry.described) await file.write(zip.descriptor(entry), 0, null, entry.data + entry.size);
      }
      await file.write(utf8.encode("abc"), 0, null, second.data);
      let at = zip.directory;
      for (const piece of zip.tail()) at += (await file.write(piece, 0, null, at)).bytesWritten;
      await file.close();
      assert.equal(at, zip.size);
      const code =
        "import sys, zipfile\n" +
        "z = zipfile.ZipFile(sys.argv[1])\n" +
        "print([(i.filename, i.file_size, i.header_offset) for i in z.infolist()], z.read('ü').decode())\n" +
        "with z.open('big') as f: print(f.read(4))";
      const { stdout } = await run("python3", ["-c", code, path]);
      const places = zip.entries.map(({ name, size, header }) => `('${name}', ${size}, ${header})`).join(", ");
      assert.equal(stdout, `[${places}] abc\nb'\\x00\\x00\\x00\\x00'\n`);
      await run("unzip", ["-tqq", path, "ü"]);
      await rm(path);
    }
  });

  it("needs zip64 from 4 GiB less one byte on", () => {
    for (const [size, version] of [[0xffff_fffe, 10], [0xffff_ffff, 45]]) {
      const zip = layout([{ name: "x", size }]);
      const view = new DataView(zip.header(zip.entries[0]).buffer);
      assert.equal(view.getUint16(4, true), version);
      assert.equal(view.getUint32(18, true), Math.min(size, 0xffff_ffff));
      assert.equal(view.byteLength, zip.entries[0].data);
    }
  });

  it("is laid out as the server's", () => {
    const BIG = 5 * 2 ** 30;
    const zip = layout([{ name: "big", size: BIG, crc32: 1 }, { name: "b", size: 5, crc32: 2 }]);
    const second = 30 + 3 + 20 + BIG;
    assert.deepEqual(zip.entries.map(({ header, data }) => [header, data]), [[0, 53], [second, second + 31]]);
    assert.equal(zip.directory, second + 31 + 5);
    assert.equal(zip.size, zip.directory + 69 + 59 + 98);
    const [end] = zip.tail();
    const view = new DataView(end.buffer);
    assert.equal(view.getBigUint64(53, true), BigInt(BIG));
    assert.equal(view.getBigUint64(69 + 46 + 1 + 4, true), BigInt(second));
    assert.deepEqual(Buffer.concat([...layout([]).tail()]), Buffer.from("PK\x05\x06".padEnd(22, "\0"), "latin1"));
    assert.throws(() => layout([{ name: "a", size: Number.MAX_SAFE_INTEGER }]), RangeError);
  });

  it("hands out a large directory in pieces", () => {
    const zip = layout(Array.from({ length: 10_000 }, (_, i) => ({ name: `folder/${i}`, size: 1, crc32: i })));
    const pieces = [...zip.tail()];
    assert.ok(pieces.length > 5 && pieces.every(({ length }) => length < 70_000));
  });
});

async function readAll(path) {
  const file = await open(path);
  const { buffer, byteOffset, length } = await file.readFile();
  await file.close();
  return new Uint8Array(buffer, byteOffset, length).slice();
}

describe("CRC-32", () => {
  it("is the one of zips", () => {
    assert.equal(crc32(utf8.encode("123456789")), 0xcbf4_3926);
    assert.equal(crc32(new Uint8Array()), 0);
  });

  it("is the same in pieces of any length, at any place of a buffer", () => {
    const all = bytes(1000, 7);
    const whole = crc32(all);
    if (zlibCrc32) assert.equal(whole, zlibCrc32(all));
    for (let cut = 0; cut <= 100; cut += 1) {
      assert.equal(crc32(all.subarray(cut), crc32(all.subarray(0, cut))), whole, `${cut}`);
    }
    let bitwise = ~0;
    for (const byte of all) {
      bitwise ^= byte;
      for (let bit = 0; bit < 8; bit += 1) bitwise = (bitwise >>> 1) ^ (bitwise & 1 ? 0xedb8_8320 : 0);
    }
    assert.equal(whole, ~bitwise >>> 0);
  });
});

describe("a name", () => {
  it("keeps its folders, and nothing leads out of them", () => {
    for (const [hostile, safe] of [
      ["holiday/2024/a.jpg", "holiday/2024/a.jpg"],
      ["/etc/passwd", "etc/passwd"],
      ["../../etc/passwd", "etc/passwd"],
      ["..\\..\\windows\\system32", "windows/system32"],
      ["C:\\a.txt", "C_/a.txt"],
      ["a//./b/../c", "a/b/c"],
      ["\\\\host\\share", "host/share"],
      [".bashrc", ".bashrc"],
      ["", "file"],
      ["../..", "file"],
      ["///", "file"],
      ["Müller – Größe 🎉.pdf", "Müller – Größe 🎉.pdf"],
    ]) {
      assert.equal(safeName(hostile), safe, hostile);
    }
  });

  it("shows what a system forbids or a screen hides as an underscore", () => {
    for (const [hostile, safe] of [
      ["a\0b\r\nc\u0085.txt", "a_b__c_.txt"],
      ['<a>:"b"|?*.txt', "_a___b____.txt"],
      ["invoice\u202efdp.exe", "invoice_fdp.exe"],
      ["\u2066a\u2069.txt", "_a_.txt"],
      ["a\u2028b", "a_b"],
      ["a. .", "a___"],
      ["...", "___"],
      [" ", "_"],
      ["dir. /b", "dir__/b"],
      ["con", "_con"],
      ["Nul.tar.gz", "_Nul.tar.gz"],
      ["lpt1 .txt", "_lpt1 .txt"],
      ["COM¹", "_COM¹"],
      ["console.txt", "console.txt"],
      ["a\ud800b", "a\ufffdb"],
    ]) {
      assert.equal(safeName(hostile), safe, JSON.stringify(hostile));
    }
  });

  it("that is long is cut between characters and keeps its extension", () => {
    const of = (text, count) => text.repeat(count);
    assert.equal(safeName(`${of("ü", 200)}.tar`), `${of("ü", 125)}.tar`);
    assert.equal(safeName(of("🎉", 100)), of("🎉", 63));
    assert.equal(safeName(`a.${of("b", 400)}`), `a.${of("b", 253)}`);
    assert.equal(safeName(`${of("a", 254)} ${of("b", 9)}`), `${of("a", 254)}_`);
    const deep = safeName(`${of("folder/", 10_000)}last.txt`);
    assert.ok(deep.length <= 4096 && deep.startsWith("folder/") && deep.endsWith("/last.txt"));
  });

  it("of a single file is the last of its path", () => {
    assert.equal(fileName("a/b\\c.txt"), "c.txt");
    assert.equal(fileName("a/.."), "a");
    assert.equal(fileName("/"), "file");
  });

  it("that any system takes for another's is numbered", () => {
    assert.deepEqual(
      uniqueNames(["a.txt", "A.TXT", "a (2).txt", "d/a.txt", "a.txt", "e\u0301", "é", "d", "x", "x/y", "README", "readme"]),
      ["a.txt", "A (2).TXT", "a (2) (2).txt", "d/a.txt", "a (3).txt", "e\u0301", "é (2)", "d (2)", "x (2)", "x/y", "README", "readme (2)"],
    );
    const long = "a".repeat(255);
    assert.equal(uniqueNames([long, long])[1], `${"a".repeat(251)} (2)`);
    assert.deepEqual(layout([{ name: "../a", size: 0 }, { name: "a", size: 0 }]).entries.map(({ name }) => name), ["a", "a (2)"]);
  });

  it("is told apart at once from ten thousand equal ones", () => {
    const names = uniqueNames(Array(10_000).fill("a.txt"));
    assert.equal(names[9_999], "a (10000).txt");
    assert.equal(new Set(names).size, 10_000);
  });

  it("is told apart at once from thousands that only are the same once they are cut", { timeout: 20_000 }, () => {
    const pairs = Array.from({ length: 10_000 }, (_, pair) => `${"a".repeat(250)}${String(pair).padStart(5, "0")}`);
    const names = uniqueNames(pairs.flatMap((name) => [name, name]));
    assert.equal(new Set(names).size, 20_000);
    assert.equal(names[3], `${"a".repeat(250)}0 (3)`);
  });
});
