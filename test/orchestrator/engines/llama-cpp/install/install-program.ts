/** A separate process that installs: `install-program.ts <enginesFolder> <lockFolder> <registry>`, messages over IPC. */
import { createEngineInstallation } from "../../../../../src/orchestrator/engines/llama-cpp/install/installation.ts";
import { createLog } from "../../../../../src/orchestrator/api/log.ts";

const [enginesFolder = "", lockFolder = "", registry = ""] = process.argv.slice(2);
const engine = createEngineInstallation({
  enginesFolder,
  lockFolder,
  platform: {
    platform: "linux",
    arch: "x64",
    libc: { kind: "glibc", version: "2.36" },
    node: { execPath: process.execPath },
  },
  environment: { npm_config_registry: registry, PATH: process.env["PATH"], SystemRoot: process.env["SystemRoot"] },
  log: createLog("silent", () => undefined),
  now: Date.now,
  patience: { stallMs: 20_000, retries: 0, initialDelayMs: 1, maxDelayMs: 1, pollMs: 10 },
});
await engine.install((progress) => process.send?.(progress.message), new AbortController().signal);
process.send?.("installed");
process.disconnect();
