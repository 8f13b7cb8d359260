import { commandSteps } from "../../next-steps/commands.ts";
import { withSteps } from "../../next-steps/render.ts";
import path from "node:path";
import { loadSettings } from "../../orchestrator/config/load.ts";
import { createEngineInstallation } from "../../orchestrator/engines/llama-cpp/install/installation.ts";
import { readEngineSize } from "../../orchestrator/engines/llama-cpp/install/lock.ts";
import { currentPlatform, requireSupported } from "../../orchestrator/engines/llama-cpp/install/platform.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { createLog } from "../../orchestrator/api/log.ts";

/** The state of the embedded engine. */
export type EngineState =
  | { readonly kind: "installed" }
  | { readonly kind: "possible"; readonly downloadBytes: number; readonly installedBytes: number }
  /** `reason`: no binaries for this system, or disabled. */
  | { readonly kind: "impossible"; readonly reason: string };

/** The embedded engine of a home, for installing it without a model. */
export interface EmbeddedEngine {
  look(): Promise<EngineState>;
  /**
   * Downloads and tests the engine unless it is installed. Works without a daemon; waits if one is installing it at the
   * same time. Throws `OrchestratorError`, and `Cancelled` if `signal` aborts.
   */
  install(report: (message: string, fraction: number | undefined) => void, signal: AbortSignal): Promise<void>;
}

export function createEmbeddedEngine(from: {
  readonly home: string;
  /** `dist/cli.mjs`; the lockfiles of the engine are in the same folder. */
  readonly script: string;
  /** A Node that can be started. */
  readonly node: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly say: (line: string) => void;
}): EmbeddedEngine {
  const { home, environment } = from;
  const lockFolder = path.join(path.dirname(from.script), "engine-lock");
  const platform = { ...currentPlatform(), node: { execPath: from.node } };
  const installation = createEngineInstallation({
    enginesFolder: path.join(home, "engines"),
    lockFolder,
    platform,
    environment,
    log: createLog("warn", from.say),
    now: Date.now,
  });
  return {
    async look() {
      if (await installation.isInstalled()) return { kind: "installed" };
      try {
        const name = requireSupported(platform);
        const { settings } = await loadSettings({ home, environment, flags: {} });
        if (!settings.providers.llamaCpp.enabled) {
          return { kind: "impossible", reason: "the embedded engine is disabled (providers.llamaCpp.enabled)" };
        }
        return { kind: "possible", ...readEngineSize(path.join(lockFolder, name)) };
      } catch (error) {
        if (!(error instanceof OrchestratorError)) throw error;
        return {
          kind: "impossible",
          reason: withSteps(error, commandSteps, ". "),
        };
      }
    },
    install: (report, signal) =>
      installation.install(({ message, completedBytes, totalBytes }) => {
        const isKnown = completedBytes !== undefined && totalBytes !== undefined && totalBytes > 0;
        report(message, isKnown ? completedBytes / totalBytes : undefined);
      }, signal),
  };
}
