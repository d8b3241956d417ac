import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Proxy } from "../browser/proxy.js";
import { Server } from "../browser/server.js";
import { docs, sections } from "./page.js";

const run = promisify(execFile);
const modules = fileURLToPath(new URL("node_modules", import.meta.url));
const python = fileURLToPath(new URL("../../target/clients-python/bin", import.meta.url));
const PASSWORD = "correct horse";
const MEBIBYTE = 1024 * 1024;

/** What a person has at home. The film is larger than what passes before a connection breaks and what sockets hold then. */
const things = {
  "report.pdf": randomBytes(300_000),
  "a.jpg": randomBytes(70_000),
  "b.jpg": randomBytes(1),
  "film.mkv": randomBytes(12 * MEBIBYTE),
  "photos/lake 1.jpg": randomBytes(10_000),
};

/** @type {Server} */
let server;
/** Stands before the server where connections are to break. @type {Proxy} */
let proxy;
/** @type {string} */
let home;

before(async () => {
  server = await Server.on("embedded");
  proxy = await Proxy.before(server.address);
});
after(async () => {
  await proxy?.close();
  await server?.stop();
});

/**
 * What each section must come to, by its title.
 *
 * @type {Record<string, { breaks?: "up" | "down", check: (links: string[], said: { stdout: string, stderr: string }) => Promise<void> }>}
 */
const expected = {
  curl: {
    async check(links) {
      await took(links, ["report.pdf", "summary.pdf", "report.pdf", "a.jpg+b.jpg", "photos.tar", "text.txt", "text.txt"], { 2: PASSWORD });
      await downloaded("report.pdf", "a.jpg");
    },
  },
  "curl: going on after an interruption": {
    breaks: "down",
    async check() {
      await downloaded("film.mkv");
      wentOn();
    },
  },
  "curl: the receipt": {
    async check(links, { stdout }) {
      assert.match(stdout, /<!doctype html>/i);
      const receipt = JSON.parse(stdout.slice(stdout.lastIndexOf('{"state"')));
      assert.deepEqual([receipt.state, receipt.downloads], ["revoked", 1]);
      const { plain_link: link } = JSON.parse(await readFile(join(home, "share.json"), "utf8"));
      await took([link], ["report.pdf"]);
      await gone(await readFile(join(home, "report.link"), "utf8"));
    },
  },
  "A function for `~/.bashrc`": {
    async check(links, { stderr }) {
      await took(links, ["report.pdf", "a.jpg+b.jpg", "photos.tar.gz", "stdin"]);
      assert.equal(stderr.match(/^receipt: http:\/\/.*\/r\/[0-9a-f]{32}\/[\w-]{22}$/gm)?.length, 4, stderr);
    },
  },
  "transfer.sh's way": {
    async check(links) {
      await took(links, ["report.pdf", "report.pdf", "report.pdf", "a.jpg+b.jpg"]);
      await gone(await readFile(join(home, "report.link"), "utf8"));
    },
  },
  wget: {
    breaks: "down",
    async check() {
      await downloaded("film.mkv");
      wentOn();
    },
  },
  "Python: tuspy and http_ece": { breaks: "up", check: sealedBothWays },
  "JavaScript: tus-js-client and http_ece": { breaks: "up", check: sealedBothWays },
};

describe("docs/clients.md", () => {
  for (const title of Object.keys(expected)) {
    it(title, { timeout: 300_000 }, async () => {
      const { breaks, check } = expected[title];
      const section = (await sections((breaks ? proxy : server).address)).find((section) => section.title === title);
      assert.ok(section, "the page has no such section");
      home = await mkdtemp(join(tmpdir(), "onetimeshare-clients-"));
      try {
        await furnish(section.files);
        proxy.requests.length = 0;
        const broken = breaks && proxy.cutAfter(MEBIBYTE, breaks);
        const said = await bash(section.script);
        await broken;
        await check(said.stdout.match(/^http:\/\/\S+\/s\/[0-9a-f]{32}[/#][\w-]{22}$/gm) ?? [], said);
      } finally {
        await rm(home, { recursive: true });
      }
    });
  }

  it("has no section that is not tried", async () => {
    const titles = (await sections(server.address)).map(({ title }) => title);
    assert.deepEqual(titles, Object.keys(expected));
  });
});

it("ShareX, as docs/onetimeshare.sxcu has it", async () => {
  const uploader = JSON.parse(await readFile(`${docs}onetimeshare.sxcu`, "utf8"));
  const { Version, Name, DestinationType, RequestMethod, RequestURL, Headers, Body, FileFormName, URL: link, ...rest } = uploader;
  const { DeletionURL, ErrorMessage, ...unknown } = rest;
  assert.deepEqual(unknown, {}, "this test knows all fields");
  assert.match(Version, /^1[4-9]\.\d+\.\d+$/, "from 14 on, ShareX writes what it reads of an answer in braces");
  assert.deepEqual([Name, Body], ["OneTimeShare", "MultipartFormData"]);
  assert.deepEqual(DestinationType.split(", "), ["ImageUploader", "TextUploader", "FileUploader"]);

  /** `{json:path}` of an answer. @param {string} syntax @param {any} answer */
  const read = (syntax, answer) => answer[/^\{json:(\w+)\}$/.exec(syntax)[1]];
  const post = async (name, content, parameters = "") => {
    const form = new FormData();
    form.append(FileFormName, new File([content], name, { type: "image/png" }));
    const to = RequestURL.replace("https://share.example.org", server.address);
    const answer = await fetch(to + parameters, { method: RequestMethod, headers: Headers, body: form });
    return { status: answer.status, answer: JSON.parse(await answer.text()) };
  };

  const { status, answer } = await post("Größe 1.png", things["a.jpg"]);
  assert.equal(status, 201);
  assert.deepEqual(await take(read(link, answer).replace("#", "/")), { name: "Größe 1.png", content: things["a.jpg"] });
  const receipt = await fetch(read(DeletionURL, answer), { headers: { accept: "text/html" } });
  assert.equal(receipt.status, 200);

  const refused = await post("a.png", things["b.jpg"], "?downloads=1000");
  assert.equal(refused.status, 400);
  assert.match(read(ErrorMessage, refused.answer), /^downloads must be a whole number from 1 to 100\./);
});

/** @param {Record<string, string>} programs */
async function furnish(programs) {
  await mkdir(join(home, "Downloads"));
  await mkdir(join(home, "photos"));
  for (const [name, content] of Object.entries({ ...things, ...programs })) await writeFile(join(home, name), content);
  await symlink(modules, join(home, "node_modules"));
}

/** @param {string} script */
async function bash(script) {
  const env = { HOME: home, PATH: `${python}:${process.env.PATH}`, LANG: "C.UTF-8" };
  return run("bash", ["--norc", "-euo", "pipefail", "-c", script], { cwd: home, env, timeout: 280_000, maxBuffer: 16 * MEBIBYTE });
}

/** Claims a plain link. @param {string} link @param {string} [password] */
async function take(link, password = "") {
  const answer = await fetch(link, { method: "POST", body: new URLSearchParams({ password }) });
  const content = Buffer.from(await answer.arrayBuffer());
  assert.equal(answer.status, 200, content.toString());
  const name = /filename\*=UTF-8''([^;]*)/.exec(answer.headers.get("content-disposition"))[1];
  return { name: decodeURIComponent(name), content };
}

/**
 * The links lead to what was sent, and nothing else was.
 *
 * @param {string[]} links
 * @param {string[]} names with a plus between those of one link
 * @param {Record<number, string>} [passwords]
 */
async function took(links, names, passwords = {}) {
  assert.equal(links.length, names.length, `${links}`);
  for (const [i, link] of links.entries()) {
    const { name, content } = await take(link, passwords[i]);
    if (names[i].includes("+")) {
      assert.match(name, /\.zip$/);
      assert.deepEqual(await unpacked("unzip -q", content), names[i].split("+"));
    } else {
      assert.equal(name, names[i]);
      if (/\.tar/.test(name)) assert.deepEqual(await unpacked("tar xf", content), ["photos"]);
      else if (name in things) assert.deepEqual(content, things[name]);
      else if (name === "text.txt") assert.match(content.toString(), /^The key is under the mat\.\n?$/);
      else if (name === "summary.pdf") assert.deepEqual(content, things["report.pdf"]);
      else assert.match(content.toString(), /\d{4}\n$/, "a date");
    }
  }
}

/** Unpacks beside the things, and compares; gives the names at the top. @param {string} command @param {Buffer} content */
async function unpacked(command, content) {
  const folder = await mkdtemp(join(home, "unpacked-"));
  await writeFile(`${folder}.archive`, content);
  await run("bash", ["-c", `${command} ${folder}.archive`], { cwd: folder });
  const entries = await readdir(folder, { recursive: true });
  const names = entries.filter((name) => name in things);
  for (const name of names) assert.deepEqual(await readFile(join(folder, name)), things[name]);
  assert.ok(names.length > 0, `${entries}`);
  return (await readdir(folder)).sort();
}

/** Exactly these are in the downloads, and whole. @param {...string} names */
async function downloaded(...names) {
  const folder = join(home, "Downloads");
  assert.deepEqual((await readdir(folder)).sort(), names.sort());
  for (const name of names) assert.deepEqual(await readFile(join(folder, name)), things[name], name);
}

/** One claim, and at least two reads of it, the last from where the first broke off. */
function wentOn() {
  assert.equal(proxy.requests.filter(({ method }) => method === "POST").length, 1);
  const reads = proxy.requests.filter(({ method, target }) => method === "GET" && target.startsWith("/d/"));
  assert.ok(reads.length > 1, `${reads.length} reads`);
  const from = Number(/^bytes=(\d+)-$/.exec(reads.at(-1).headers.range)?.[1]);
  assert.ok(from > 0 && from < things["film.mkv"].length, `from ${from}`);
}

/** @param {string} link */
async function gone(link) {
  const answer = await fetch(link.trim(), { method: "POST" });
  assert.equal(answer.status, 410);
  assert.match(await answer.text(), /revoked/);
}

/** What was sealed here arrived, and the upload went on where it had broken off. */
async function sealedBothWays() {
  await downloaded("report.pdf", "film.mkv", "a.jpg");
  const parts = proxy.requests.filter(({ method }) => method === "PATCH").map(({ headers }) => Number(headers["upload-offset"]));
  assert.ok(parts.some((offset) => offset > 0), `parts from ${parts}`);
  assert.equal(proxy.requests.filter(({ method, target }) => method === "POST" && target === "/api/v1/uploads").length, 2);
  assert.equal(proxy.requests.filter(({ method }) => method === "DELETE").length, 2, "both downloads were finished");
}
