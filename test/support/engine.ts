import { resolve } from "node:path";
import { createEngineInstallation } from "../../src/orchestrator/engines/llama-cpp/install/installation.ts";
import { currentPlatform } from "../../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";

/** Limit for downloading, or waiting for another worker's download. Vitest's hooks need a longer one. */
export const engineLimitMs = 180_000;

/**
 * Returns the real embedded engine, installed from the configured npm registry into a folder that is shared by all tests
 * and runs. Concurrent workers share one download.
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
  if (modulePath === undefined) throw new Error(`${engine.folder} is incomplete after the installation`);
  return { modulePath, enginesFolder };
}
