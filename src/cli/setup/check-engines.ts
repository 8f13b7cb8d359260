import path from "node:path";
import { findInstalled } from "../../orchestrator/engines/llama-cpp/install/installed.ts";
import {
  currentPlatform,
  engineFolderName,
  engineVersion,
  lockName,
} from "../../orchestrator/engines/llama-cpp/install/platform.ts";
import { isOllamaOptional, ollamaServers } from "../../orchestrator/config/ollama-servers.ts";
import { parseOllamaHost } from "../../orchestrator/util/ollama-host.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { parseJson } from "../../orchestrator/util/parse-json.ts";
import { advice, type NextSteps } from "../../orchestrator/api/next-step.ts";
import { type Check, type Checker, type DoctorWorld, fail, getWithin, ok, stepsFor, warn } from "./check.ts";
import type { LoadedSettings } from "../../orchestrator/config/load.ts";
import { createDocumentFiles, readOnlyFiles } from "../../orchestrator/storage/document-files.ts";
import { isOllamaInstalled } from "../../orchestrator/engines/ollama/installed.ts";
import { createKeptLearning } from "../../orchestrator/memory/measure/kept-learning.ts";
import { engineKey } from "../../orchestrator/models/engine-key.ts";
import { createLog } from "../../orchestrator/api/log.ts";
import type { CommandIo } from "../terminal/io.ts";

const setHost = { step: "changeSetting", setting: "providers.ollama.host", to: "URL" } as const;

/**
 * Checks that Ollama responds and whether the embedded engine is installed. One engine is enough; the embedded engine
 * counts even before it is installed, since the first download of a model installs it.
 */
export const checkEngines: Checker = async (world, signal) => {
  const { ollama, llamaCpp } = world.settings.providers;
  const isInstallable = llamaCpp.enabled && lockName(currentPlatform()) !== undefined;
  const asked: readonly (Check | undefined)[] = await Promise.all([
    ...(ollama.enabled
      ? // A failed server is only a warning when there are others.
        ollamaServers(ollama).map(({ id, host }, index) =>
          askOllama({ name: id, host, hasOther: index > 0 || isInstallable, world, signal }),
        )
      : [ok("ollama", "disabled")]),
    llamaCpp.enabled ? lookForEmbedded(world.home, isInstallable) : ok("embedded engine", "disabled"),
  ]);
  const checks = asked.filter((check) => check !== undefined);
  if (ollama.enabled || llamaCpp.enabled) return checks;
  return [
    ...checks,
    fail("engines", "all engines are disabled", [
      { step: "changeSetting", setting: "providers.llamaCpp.enabled", to: "true" },
      { step: "changeSetting", setting: "providers.ollama.enabled", to: "true" },
    ]),
  ];
};

/** Undefined for a server that does not respond and is not expected to. */
async function askOllama(asked: {
  readonly name: string;
  readonly host: string;
  readonly hasOther: boolean;
  readonly world: Pick<DoctorWorld, "get" | "isOllamaExpected">;
  readonly signal: AbortSignal;
}): Promise<Check | undefined> {
  const { name, host, hasOther, world, signal } = asked;
  try {
    const { baseUrl, label } = parseOllamaHost(host);
    const problem = (text: string, next: NextSteps) => (hasOther ? warn : fail)(name, text, next);
    try {
      const version = versionOf(await getWithin(world.get, `${baseUrl}/api/version`, signal, 1_500));
      if (version !== undefined) return ok(name, `${version} at ${label}`);
      return problem(`the server at ${label} is not Ollama`, setHost);
    } catch (error) {
      if (hasOther && !world.isOllamaExpected) return undefined;
      return problem(`no response from ${label} (${codeOf(error)})`, [advice("start it (`ollama serve`)"), setHost]);
    }
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    return fail(name, error.message, stepsFor(error, setHost));
  }
}

async function lookForEmbedded(home: string, isInstallable: boolean): Promise<Check> {
  const name = "embedded engine";
  if (!isInstallable) {
    return warn(name, `no binaries for ${process.platform}-${process.arch}`, advice("install Ollama"));
  }
  const folder = path.join(home, "engines", engineFolderName(currentPlatform()));
  if ((await findInstalled(folder)) !== undefined)
    return ok(name, `llama.cpp (node-llama-cpp ${engineVersion}) is installed`);
  return ok(name, "not installed yet; ollm setup --engine installs it, as does the first pull or load that needs it");
}

function versionOf(body: string): string | undefined {
  try {
    const { version } = parseJson(body) as { readonly version?: unknown };
    return typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}

/** The system's error code, which `fetch` puts into a chain of causes. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ("code" in error && typeof error.code === "string") return error.code;
  return error.cause === undefined ? error.message : codeOf(error.cause);
}

/** Whether to report an Ollama server that does not respond, as the daemon decides it; writes nothing. */
export async function expectsOllama(
  home: string,
  { settings: { providers }, sources }: Pick<LoadedSettings, "settings" | "sources">,
  io: CommandIo,
): Promise<boolean> {
  if (!isOllamaOptional(providers, sources) || (await isOllamaInstalled(io))) return true;
  const files = readOnlyFiles(createDocumentFiles(home), "the doctor changes nothing");
  const kept = createKeptLearning({ files, log: createLog("silent", () => undefined) });
  const host = engineKey({ kind: "ollama", address: parseOllamaHost(providers.ollama.host).baseUrl });
  return (await kept.hosts()).some((known) => known === host);
}
