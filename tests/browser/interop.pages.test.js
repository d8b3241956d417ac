import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { give, take } from "./flows.js";
import { onBothStores } from "./harness.js";
import { fetchSealed, openWithNode, openWithPython, sealWithNode, sealWithPython } from "./interop.js";
import { put } from "./sealed.js";

const PASSWORD = "pässwörd 🔑";

onBothStores("what the pages seal and open, by others' RFC 8188", (test) => {
  for (const password of [undefined, PASSWORD]) {
    const how = password ? ", under a password" : "";
    test(`opens as it was sent${how}`, async ({ openModern, server, folder }) => {
      const contents = [randomBytes(600_000), Buffer.alloc(0), randomBytes(9)];
      const paths = contents.map((_, i) => join(folder, `${i} ü 🎉.bin`));
      await Promise.all(paths.map((path, i) => writeFile(path, contents[i])));
      const { link } = await give(await openModern(), server, { files: paths, note: "für dich", password });
      const sealed = await fetchSealed(link, password);
      for (const opened of [openWithNode(link, password, sealed), await openWithPython(link, password, sealed)]) {
        assert.deepEqual(opened.files.map(({ name }) => name), ["0 ü 🎉.bin", "1 ü 🎉.bin", "2 ü 🎉.bin"]);
        assert.deepEqual(opened.files.map(({ content }) => Buffer.from(content)), contents);
        assert.equal(opened.note, "für dich");
      }
    });

    for (const [library, seal] of /** @type {const} */ ([["npm", sealWithNode], ["PyPI", sealWithPython]])) {
      test(`is taken as ${library}'s http_ece sealed it${how}`, async ({ openModern, server }) => {
        const secret = randomBytes(16).toString("base64url");
        const content = randomBytes(700_000);
        const { manifest, content: sealed, verifier } = await seal(secret, password, [{ name: "ü 🎉.bin", content }]);
        const said = { manifest: manifest.length, verifier, expires_in: 3600, downloads: 1, ...(password && { password: 1 }) };
        const { id } = await put(server, Buffer.concat([manifest, sealed]), said);
        const got = await take(await openModern(), `${server}/s/${id}#${secret}`, { password });
        assert.equal(got.name, "ü 🎉.bin");
        assert.ok((await readFile(got.path)).equals(content));
      });
    }
  }
});
