// In the page: hands the loops to workers, and runs the pages' own modules.

const workers = Array.from({ length: 2 }, () => new Worker(LOOPS, { type: "module" }));
const call = (worker, message) =>
  new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.postMessage(message);
  });
const chosen = () => document.querySelector("input[type=file]").files[0];
const module = async (name) => import(`${await assets()}/lib/${name}.js`);
const assets = async () => /"(\/static\/\w+)\//.exec(await (await fetch("/")).text())[1];
const timed = async (work) => {
  const from = performance.now();
  await work();
  return (performance.now() - from) / 1000;
};
/** What is left to be done after the time is taken. */
const afterwards = [];
/** Resolves with the first state in `phases`. */
const reached = (begin, phases) =>
  new Promise((resolve, reject) => {
    begin((state) => {
      if (state.phase === "failed") reject(new Error(JSON.stringify(state.problem)));
      if (phases.includes(state.phase)) resolve(state);
    });
  });

globalThis.bench = {
  async loop({ name, options, workers: count = 1 }) {
    if (options.file) options.file = chosen();
    if (options.bytes) options.bytes = Math.floor(options.bytes / count);
    const done = await Promise.all(workers.slice(0, count).map((worker) => call(worker, { name, options })));
    return { seconds: Math.max(...done.map(({ seconds }) => seconds)), result: done[0].result };
  },

  async echo({ options: { size, count } }) {
    let buffer = new ArrayBuffer(size);
    const seconds = await timed(async () => {
      for (let i = 0; i < count; i += 1) buffer = (await call(workers[0], { echo: buffer })).echo;
    });
    return { seconds };
  },

  /** All that the page that sends does, but for its elements. */
  async send({ downloads = 1 }) {
    const [{ send }, { revoke }] = [await module("upload"), await module("api")];
    const sources = [{ file: chosen(), name: "bench", type: "", fromDisk: true }];
    const order = { sources, expiresIn: 3600, downloads, part: 16 * 2 ** 20 };
    let share;
    const seconds = await timed(async () => ({ share } = await reached((told) => send(order, told), ["done"])));
    if (downloads === 1) afterwards.push(() => revoke(share.id, share.owner));
    return { seconds, share };
  },

  /** All that the page that receives does, but for its elements. */
  async receive({ share: { id, secret } }) {
    const [{ receive }, seal, { peek }] = [await module("download"), await module("seal"), await module("api")];
    const keys = await seal.deriveKeys(seal.decode(secret));
    const { size, manifest: sealed } = await peek(id, seal.encode(keys.proof));
    const manifest = await seal.openManifest(keys.manifest, seal.decode(sealed), seal.plainLength(size));
    let download;
    const seconds = await timed(() =>
      reached((told) => (download = receive({ id, secret, keys, size, manifest, how: { kind: "staged" } }, told)), ["finished"]),
    );
    afterwards.push(async () => (await download).discard());
    return { seconds };
  },

  async tidy() {
    for (const task of afterwards.splice(0)) await task();
    await Promise.all(workers.map((worker) => call(worker, { tidy: true })));
  },
};
document.body.append(Object.assign(document.createElement("input"), { type: "file" }));
