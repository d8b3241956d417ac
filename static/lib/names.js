// Names of files as their sender wrote them, shown so that none can pass for another.

/** Controls, and what turns the reading direction around: it makes `exe.gpj` of `jpg.exe` (Unicode TR 36 §3.2). */
const DISGUISES = /[\p{Cc}\u202a-\u202e\u2066-\u2069\u2028\u2029]/gu;

/**
 * `name` with U+FFFD for each character that would disguise it.
 *
 * @param {string} name
 */
export const visible = (name) => name.replace(DISGUISES, "\ufffd");

/**
 * The folders of a name, with the closing slash, and what follows them.
 *
 * @param {string} name
 * @returns {[string, string]}
 */
export function split(name) {
  const slash = name.lastIndexOf("/") + 1;
  return [name.slice(0, slash), name.slice(slash)];
}

/**
 * A name as an element: folders in softer ink, and a reading direction of its own for each half.
 *
 * @param {string} name
 */
export function nameElement(name) {
  const element = document.createElement("span");
  element.className = "name";
  const [folders, base] = split(visible(name));
  if (folders) {
    const folder = document.createElement("span");
    folder.className = "folder";
    folder.append(isolated(folders));
    element.append(folder, document.createElement("wbr"));
  }
  element.append(isolated(base));
  return element;
}

/** @param {string} text */
function isolated(text) {
  const element = document.createElement("bdi");
  element.dir = "ltr";
  element.textContent = text;
  return element;
}
