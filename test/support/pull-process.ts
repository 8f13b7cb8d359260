/**
 * A process that pulls one model, for tests that kill it: `FOLDER REGISTRY MODEL`. Prints one JSON line per progress
 * and one with the result.
 */
import { createHttpGet } from "../../src/orchestrator/store/http.ts";
import { createModelStore } from "../../src/orchestrator/store/model-store.ts";

const [folder = "", registry = "", model = ""] = process.argv.slice(2);
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);
let calls = 0;
const store = createModelStore({
  folder,
  readOnlyFolders: [],
  registry: { defaultHost: registry, insecureHosts: [registry], stallTimeoutMs: 30_000 },
  http: createHttpGet({}),
  log: { debug: () => {}, info: () => {}, warn: () => {} },
  // Every event is due.
  now: () => Date.now() + calls++ * 150,
});
say({ result: await store.pull(model, (progress) => say({ progress }), new AbortController().signal) });
