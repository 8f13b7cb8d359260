/**
 * A process that pulls one model, for tests that kill it: `FOLDER REGISTRY MODEL`. Prints one JSON line per
 * progress event and one with the result.
 */
import { PullFailed } from "../../src/orchestrator/api/errors.ts";
import { createAddressGuard } from "../../src/orchestrator/engines/address-guard.ts";
import { createHttpGet } from "../../src/orchestrator/engines/http.ts";
import { createModelStore } from "../../src/orchestrator/engines/llama-cpp/store/model-store.ts";

const [folder = "", registry = "", model = ""] = process.argv.slice(2);
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);
const guard = createAddressGuard({ allowedHosts: () => ["127.0.0.1"], refuse: (message) => new PullFailed(message) });
let calls = 0;
const store = createModelStore({
  folder,
  readOnlyFolders: [],
  registry: { defaultHost: registry, stallTimeoutMs: 30_000 },
  http: createHttpGet({}, guard),
  log: { debug: () => {}, info: () => {}, warn: () => {} },
  // Each event is late enough to be reported.
  now: () => Date.now() + calls++ * 150,
});
say({ result: await store.pull(model, (progress) => say({ progress }), new AbortController().signal) });
