import { nextText } from "../terminal-text.ts";
import path from "node:path";
import { findInstalled } from "../../orchestrator/engines/llama-cpp/install/installed.ts";
import {
  currentPlatform,
  engineFolderName,
  engineVersion,
  lockName,
} from "../../orchestrator/engines/llama-cpp/install/platform.ts";
import { ollamaServers } from "../../orchestrator/config/ollama-servers.ts";
import { parseOllamaHost } from "../../orchestrator/text/ollama-host.ts";
import { OrchestratorError } from "../../orchestrator/errors.ts";
import { type Check, type Checker, fail, getWithin, ok, warn } from "./check.ts";
import { parseJson } from "../../orchestrator/text/parse-json.ts";

/**
 * Ollama's answer, and whether the embedded engine is installed. One engine is enough, and an engine that is only not
 * installed yet is one too: the first download of a model installs it.
 */
export const checkEngines: Checker = async (world, signal) => {
  const { ollama, llamaCpp } = world.settings.providers;
  const isInstallable = llamaCpp.enabled && lockName(currentPlatform()) !== undefined;
  const checks = await Promise.all([
    ...(ollama.enabled
      ? // One of several that doesn't answer stops nobody.
        ollamaServers(ollama).map(({ id, host }, index) =>
          askOllama(id, host, index > 0 || isInstallable, world.get, signal),
        )
      : [ok("ollama", "switched off")]),
    llamaCpp.enabled ? lookForEmbedded(world.home, isInstallable) : ok("embedded engine", "switched off"),
  ]);
  if (ollama.enabled || llamaCpp.enabled) return checks;
  return [
    ...checks,
    fail("engines", "all engines are switched off", "Set providers.ollama.enabled or providers.llamaCpp.enabled."),
  ];
};

async function askOllama(
  name: string,
  host: string,
  hasOther: boolean,
  get: (url: string, signal: AbortSignal) => Promise<string>,
  signal: AbortSignal,
): Promise<Check> {
  try {
    const { baseUrl, label } = parseOllamaHost(host);
    const problem = (text: string, hint: string) => (hasOther ? warn : fail)(name, text, hint);
    try {
      const version = versionOf(await getWithin(get, `${baseUrl}/api/version`, signal, 1_500));
      if (version !== undefined) return ok(name, `${version} at ${label}`);
      return problem(`what answers at ${label} is no Ollama`, "Set providers.ollama.host to where Ollama listens.");
    } catch (error) {
      const hint = "Start it (ollama serve), or set providers.ollama.host; without it the embedded engine serves.";
      // Not installed is the usual case of who uses the embedded engine, and nothing to worry about.
      const isUsual = name === "ollama" && hasOther && codeOf(error) === "ECONNREFUSED";
      if (isUsual) return ok(name, `not running at ${label}; it isn't needed`);
      return problem(`no answer at ${label} (${codeOf(error)})`, hint);
    }
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    return fail(name, error.message, nextText(error) || "Set providers.ollama.host to where Ollama listens.");
  }
}

async function lookForEmbedded(home: string, isInstallable: boolean): Promise<Check> {
  const name = "embedded engine";
  if (!isInstallable) {
    return warn(name, `has no binaries for ${process.platform}-${process.arch}`, "Use Ollama on this machine.");
  }
  const folder = path.join(home, "engines", engineFolderName(currentPlatform()));
  if ((await findInstalled(folder)) !== undefined)
    return ok(name, `llama.cpp (node-llama-cpp ${engineVersion}) is installed`);
  return ok(name, "not installed yet; the first ollm pull or ollm load that needs it does so, or ollm setup --engine");
}

function versionOf(body: string): string | undefined {
  try {
    const { version } = parseJson(body) as { readonly version?: unknown };
    return typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}

/** `fetch` hides the system's code in a chain of causes. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ("code" in error && typeof error.code === "string") return error.code;
  return error.cause === undefined ? error.message : codeOf(error.cause);
}
