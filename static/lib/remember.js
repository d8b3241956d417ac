// What this browser remembers, in IndexedDB: it stays on this machine. Runs in pages and in workers.

/**
 * An upload that is not done. Everything that sealing it again from any record needs, except the files.
 *
 * @typedef {object} UploadRecord
 * @property {string} id the share
 * @property {string} location where its bytes go
 * @property {string} owner owner token
 * @property {string} secret base64url
 * @property {import("./seal.js").Keys} keys
 * @property {import("./seal.js").Bytes} manifestSalt
 * @property {import("./seal.js").Bytes} contentSalt
 * @property {import("./seal.js").Manifest} manifest
 * @property {number} manifestLength bytes of the sealed manifest
 * @property {number} length bytes of sealed manifest and sealed content
 * @property {number} part bytes of one PATCH
 * @property {boolean} password whether one is needed
 * @property {number} expiresIn seconds
 * @property {number} downloads
 * @property {(Blob | null)[]} kept those files that can't be chosen again, because they never lay on a disk; null for the others
 * @property {(FileSystemFileHandle | null)[]} handles of those files that the browser can open again by itself
 * @property {{ size: number, lastModified: number }[]} stamps what tells a file that changed
 * @property {number} createdAt ms
 * @property {number} expiresAt ms of this machine's clock: until then the upload can go on
 */

/**
 * The last parts of an upload that may have left this machine. Sealed again, a part has to be the same.
 *
 * @typedef {object} PartRecord
 * @property {string} id the share
 * @property {{ offset: number, digest: Uint8Array }[]} notes offset in the upload, and what
 *   `Part` has as digest
 */

/**
 * A claim of this browser's.
 *
 * @typedef {object} ClaimRecord
 * @property {string} id the share
 * @property {string} claim the token
 * @property {string} secret base64url
 * @property {import("./seal.js").Keys} keys
 * @property {import("./seal.js").Manifest} manifest
 * @property {number} size bytes of sealed content
 * @property {number} lease how long one lasts, in milliseconds
 * @property {number} leaseExpiresAt ms of this machine's clock: about when this one ends, unless more comes
 * @property {"asked" | "granted" | "arrived" | "finished"} state asked: perhaps granted; arrived: verified, and not yet finished
 * @property {number} [finishedAt] ms
 * @property {{ salt: Uint8Array<ArrayBuffer>, record: number, crcs: number[] }} [progress] how much of the content is verified and on disk: its
 *   salt, the next record, and the files' CRC-32 so far
 * @property {string} [staged] name in the origin's private file system
 */

/**
 * A share that was sent from this browser.
 *
 * @typedef {object} ShareRecord
 * @property {string} id
 * @property {string} secret base64url
 * @property {string} owner owner token
 * @property {string[]} names of its first files
 * @property {number} files how many
 * @property {boolean} text whether it is a text
 * @property {number} size plain bytes
 * @property {boolean} password
 * @property {number} downloads
 * @property {number} createdAt ms
 * @property {number} expiresAt ms
 * @property {import("./api.js").Receipt["state"]} state as last seen
 */

/**
 * What the phone's share menu handed over, until the page takes it in.
 *
 * @typedef {object} SharedRecord
 * @property {string} id
 * @property {File[]} files
 * @property {string} text
 */

/**
 * @typedef {{ uploads: UploadRecord, parts: PartRecord, claims: ClaimRecord, shares: ShareRecord, shared: SharedRecord }} Stores
 */

const NAME = "onetimeshare";
const VERSION = 1;
const STORES = ["uploads", "parts", "claims", "shares", "shared"];

/** @type {Promise<IDBDatabase> | undefined} */
let opened;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => STORES.forEach((store) => request.result.createObjectStore(store, { keyPath: "id" }));
    request.onsuccess = () => {
      // A newer page in another tab wants to upgrade: step aside.
      request.result.onversionchange = () => {
        request.result.close();
        opened = undefined;
      };
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/**
 * @template T
 * @param {keyof Stores} store
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>} once it is on disk, as far as the browser says
 */
async function transact(store, mode, act) {
  const transaction = (await database()).transaction(store, mode, { durability: "strict" });
  const request = act(transaction.objectStore(store));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
  });
}

/**
 * Remembers durably: it resolves when the record would survive a crash.
 *
 * @template {keyof Stores} S
 * @param {S} store
 * @param {Stores[S]} record
 */
export const put = (store, record) => transact(store, "readwrite", (rows) => rows.put(record));

/**
 * @template {keyof Stores} S
 * @param {S} store
 * @param {string} id
 * @returns {Promise<Stores[S] | undefined>}
 */
export const get = (store, id) => transact(store, "readonly", (rows) => rows.get(id));

/**
 * @template {keyof Stores} S
 * @param {S} store
 * @returns {Promise<Stores[S][]>}
 */
export const all = (store) => transact(store, "readonly", (rows) => rows.getAll());

/**
 * @param {keyof Stores} store
 * @param {string} id
 */
export const forget = (store, id) => transact(store, "readwrite", (rows) => rows.delete(id));

/**
 * Forgets an upload and its parts, as far as anything can be remembered here.
 *
 * @param {string} id
 */
export const forgetUpload = (id) => Promise.allSettled([forget("uploads", id), forget("parts", id)]);

/** The folder of the origin's private file system that downloads are staged in. */
export const stagedFolder = async () =>
  (await navigator.storage.getDirectory()).getDirectoryHandle("staged", { create: true });
