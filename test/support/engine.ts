import { resolve } from "node:path";
import { createEngineInstallation } from "../../src/orchestrator/engines/llama-cpp/install/installation.ts";
import { currentPlatform } from "../../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { createLog } from "../../src/orchestrator/log.ts";

/** Downloading, or waiting for another worker's download, ends within this. Vitest's hooks need a limit above it. */
export const engineLimitMs = 180_000;

/**
 * The real embedded engine, installed from the configured npm registry into a folder that all tests share and keep
 * from run to run. Workers that ask at once share one download.
 */
export async function installedEngine(): Promise<{ readonly modulePath: string; readonly enginesFolder: string }> {
  const enginesFolder = resolve("node_modules", ".cache", "ollm-test", "engines");
  const engine = createEngineInstallation({
    enginesFolder,
    lockFolder: resolve("engine-lock"),
    platform: currentPlatform(),
    environment: process.env,
    log: createLog("warn", (line) => void process.stderr.write(`${line}\n`)),
    now: Date.now,
  });
  await engine.install(() => undefined, AbortSignal.timeout(engineLimitMs));
  const modulePath = await engine.modulePath();
  if (modulePath === undefined) throw new Error(`${engine.folder} is not whole after installing`);
  return { modulePath, enginesFolder };
}
