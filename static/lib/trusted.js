// The one Trusted Types policy: scripts come from our own origin, and nothing else makes one.

/** @type {{ createScriptURL(url: string): any } | undefined} */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("onetimeshare", {
  createScriptURL(/** @type {string} */ url) {
    if (new URL(url, location.href).origin !== location.origin) throw new TypeError(`${url} is another origin's`);
    return url;
  },
});

/**
 * The address of a script, as a browser with Trusted Types wants it.
 *
 * @param {string | URL} url
 * @returns {string}
 */
export const script = (url) => policy?.createScriptURL(String(url)) ?? String(url);
