// Looks for what must not be told, in all the ways in which it could be told.

/** Base64 of the middle of a longer text depends on where the text begins. */
const ALIGNMENTS = [0, 1, 2];

/**
 * How a value may be written: as it is, and in the encodings of addresses, headers, forms and JSON.
 *
 * @param {string | Buffer} value
 * @returns {Map<string, Buffer>} encodings and what they make of it
 */
export function spellings(value) {
  const bytes = Buffer.from(value);
  const hex = bytes.toString("hex");
  const percent = hex.replace(/../g, "%$&");
  const found = new Map([
    ["itself", bytes],
    ["hex", Buffer.from(hex)],
    ["HEX", Buffer.from(hex.toUpperCase())],
    ["percent", Buffer.from(percent)],
    ["PERCENT", Buffer.from(percent.toUpperCase())],
  ]);
  for (const alignment of ALIGNMENTS) {
    const shifted = Buffer.concat([Buffer.alloc(alignment), bytes]).toString("base64url");
    // Characters that hold bits of a neighbour, too, tell nothing.
    const first = Math.ceil((alignment * 8) / 6);
    const last = Math.floor(((alignment + bytes.length) * 8) / 6);
    const text = shifted.slice(first, last);
    found.set(`base64url, ${alignment}`, Buffer.from(text));
    found.set(`base64, ${alignment}`, Buffer.from(text.replaceAll("-", "+").replaceAll("_", "/")));
  }
  if (typeof value === "string") {
    const units = [...Array(value.length).keys()].map((at) => value.charCodeAt(at).toString(16).padStart(4, "0"));
    found.set("encodeURIComponent", Buffer.from(encodeURIComponent(value)));
    found.set("form", Buffer.from(new URLSearchParams({ "": value }).toString().slice(1)));
    found.set("UTF-16", Buffer.from(value, "utf16le"));
    found.set("JSON", Buffer.from(JSON.stringify(value).slice(1, -1)));
    found.set("JSON, ASCII", Buffer.from(value.replace(/[^ -~]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)));
    found.set("JSON, escaped", Buffer.from(units.map((unit) => `\\u${unit}`).join("")));
  }
  return found;
}

/**
 * Where any of the values is found.
 *
 * @param {Buffer} haystack
 * @param {Record<string, string | Buffer>} values by what they are; each of 8 bytes or more, as chance finds shorter ones
 * @returns {string[]} what was found, and in which spelling
 */
export function told(haystack, values) {
  const found = [];
  for (const [what, value] of Object.entries(values)) {
    if (Buffer.byteLength(value) < 8) throw new Error(`too short to be looked for: ${what}`);
    for (const [spelling, bytes] of spellings(value)) {
      const at = haystack.indexOf(bytes);
      if (at < 0) continue;
      const around = haystack.toString("latin1", Math.max(0, at - 60), at + bytes.length + 20);
      found.push(`${what} (${spelling}): ${JSON.stringify(around)}`);
    }
  }
  return found;
}
