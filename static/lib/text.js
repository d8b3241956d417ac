// The words people read, in the language of the page.

/** @typedef {typeof import("../text/en.json")} Words */
/** @typedef {{ [K in keyof Words]: K extends `${infer Stem}.one` | `${infer Stem}.other` ? Stem : K }[keyof Words]} Key */

/** The page's language, as the server chose it: a BCP 47 tag. */
export const language = document.documentElement.lang || "en";

/** @type {{ default: Record<string, string> }} */
const { default: words } = await import(`../text/${language}.js`);
const plural = new Intl.PluralRules(language);

/**
 * Says `key`, with `{name}` in it replaced by `values.name`. A key with forms `.one` and `.other` follows `values.n`.
 *
 * @param {Key} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const text = words[key] ?? words[`${key}.${plural.select(Number(values.n))}`] ?? words[`${key}.other`] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? value.toLocaleString(language) : value;
  });
}

/**
 * Whether there are words for `key`: for keys that are made at run time.
 *
 * @param {string} key
 * @returns {key is Key}
 */
export const isKey = (key) => key in words;
