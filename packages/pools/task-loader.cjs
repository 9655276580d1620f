// What piscina loads in each thread. It takes tasks from the exports, by name; here those are whatever the worker file has. In
// CommonJS, since what an ES module exports is fixed before the worker file is known.
const runner = import('./task-runner.mjs');

// A worker file that cannot be loaded ends its thread: nobody gets anything from it until then.
const loaded = runner.catch((error) => {
  setImmediate(() => {
    throw error;
  });
  return new Promise(() => {});
});

// With a word in front of them, as tasks may be called anything, also `then`.
const kind = /^(task|telling):/;

module.exports = new Proxy(
  { __esModule: true },
  {
    get(target, key) {
      const [prefix, word] = (typeof key === 'string' && kind.exec(key)) || [];
      if (prefix === undefined) return target[key];
      return loaded.then(({ entry }) => entry(word, key.slice(prefix.length)));
    },
  },
);
