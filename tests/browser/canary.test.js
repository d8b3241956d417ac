import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";

import { onStore } from "./harness.js";
import { told } from "./canary.js";

describe("what must not be told", () => {
  const name = "Gehälter Küche 🎁.pdf";
  const secret = randomBytes(16);
  const telling = {
    "as it is": Buffer.concat([Buffer.from("GET /"), secret]),
    "as a token": Buffer.from(`{"proof":"${secret.toString("base64url")}"}`),
    "as a token in front of other bytes": Buffer.from(Buffer.concat([secret, randomBytes(5)]).toString("base64")),
    "as a token behind one other byte": Buffer.from(Buffer.concat([randomBytes(1), secret]).toString("base64url")),
    "as a token behind two other bytes": Buffer.from(Buffer.concat([randomBytes(2), secret, randomBytes(2)]).toString("base64")),
    "in hex": Buffer.from(`x${secret.toString("hex")}x`),
    "in HEX": Buffer.from(secret.toString("hex").toUpperCase()),
    "a name as it is": Buffer.from(`--- ${name} ---`),
    "a name in an address": Buffer.from(`/${encodeURIComponent(name)}`),
    "a name in a form": Buffer.from(new URLSearchParams({ name }).toString()),
    "a name in metadata": Buffer.from(`filename ${Buffer.from(name).toString("base64")}`),
    "a name in JSON": Buffer.from(JSON.stringify({ name })),
    "a name in JSON of ASCII": Buffer.from('{"name":"Geh\\u00e4lter K\\u00fcche \\ud83c\\udf81.pdf"}'),
    "a name in UTF-16": Buffer.from(name, "utf16le"),
  };
  for (const [how, haystack] of Object.entries(telling)) {
    it(`is found when it is told: ${how}`, () => assert.equal(new Set(told(haystack, { secret, name }).map((found) => found.split(" (")[0])).size, 1));
  }

  it("is not found where it is not", () => {
    assert.deepEqual(told(randomBytes(1_000_000), { secret, name }), []);
    assert.throws(() => told(randomBytes(10), { short: "a.txt" }), /too short/);
  });
});

onStore("embedded", "a session that tells everything", (test) => {
  test("is caught, by the proxy that writes down what is said", async ({ proxy, open }) => {
    const page = await open();
    const between = await proxy({ record: true });
    const name = "Gehälter Küche 🎁.pdf";
    const content = randomBytes(3_000_000);
    await page.goto(`${between.address}/`);
    await page.getByLabel("Files").setInputFiles({ name, mimeType: "application/pdf", buffer: content });
    await page.getByLabel("Note to the recipient").fill("bitte drucken");
    await page.getByLabel("Password").fill("Mähne 7 im Wind");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByRole("heading", { name: "Ready to be taken." }).waitFor();
    const secret = (await page.getByLabel("Link", { exact: true }).inputValue()).split("/").at(-1);
    await page.goto(await page.getByLabel("Link", { exact: true }).inputValue());
    const all = Buffer.concat(between.said.flat());
    const values = { secret, name, note: "bitte drucken", password: "Mähne 7 im Wind", content: content.subarray(2_000_000, 2_000_016) };
    const found = new Set(told(all, values).map((line) => line.split(" (")[0]));
    assert.deepEqual([...found].sort(), Object.keys(values).sort());
  });
});
