import path from "node:path";
import { createLog } from "../../orchestrator/log.ts";
import { ollamaStoreCandidates, storeLayout } from "../../orchestrator/store/layout.ts";
import { createStoreReader } from "../../orchestrator/store/reader.ts";
import { ollamaServers } from "../../orchestrator/config/ollama-servers.ts";
import { parseOllamaHost } from "../../orchestrator/text/ollama-host.ts";
import { type Check, type Checker, type DoctorWorld, getWithin, ok, warn } from "./check.ts";
import { parseJson } from "../../orchestrator/text/parse-json.ts";

/** Each broken model is named; more than these are counted. */
const namedProblems = 5;

/**
 * The models on disk, own ones and Ollama's, and manifests whose model can't be used. Ollama is asked where none is
 * seen: its store may be another user's, or anywhere.
 */
export const checkModels: Checker = async (world, signal) => {
  const { home, io, settings } = world;
  const served = servedCount(world, signal);
  const problems: string[] = [];
  const log = createLog("warn", (line) => problems.push(line.replace(/^ollm warn: /, "")));
  const ownFolder = path.resolve(settings.store.path ?? path.join(home, "models"));
  const foreign = settings.store.readOllama
    ? ollamaStoreCandidates(io.environment, io.platform, io.userHome).filter((folder) => folder !== ownFolder)
    : [];
  const count = async (folder: string, isReadOnly: boolean): Promise<number> => {
    const reader = createStoreReader(storeLayout(folder, io.platform), isReadOnly, log);
    const models = await Promise.all((await reader.entries()).map((entry) => reader.read(entry)));
    for (const model of models) {
      if (model?.unsupported !== undefined) problems.push(`${model.name}: ${model.unsupported}`);
    }
    return models.filter((model) => model !== undefined).length;
  };
  const own = await count(ownFolder, false);
  const counts = await Promise.all(foreign.map((folder) => count(folder, true)));
  const ofOllama = counts.reduce((sum, each) => sum + each, 0);
  return [summary(own, ofOllama, await served), ...told(problems)];
};

/** Models that Ollama lists; 0 where it doesn't answer, of which another check tells. */
async function servedCount({ settings, get }: DoctorWorld, signal: AbortSignal): Promise<number> {
  if (!settings.providers.ollama.enabled) return 0;
  const counts = ollamaServers(settings.providers.ollama).map(async ({ host }) => {
    try {
      const { baseUrl } = parseOllamaHost(host);
      const body = await getWithin(get, `${baseUrl}/api/tags`, signal, 1_000);
      const { models } = parseJson(body) as { readonly models?: unknown };
      return Array.isArray(models) ? models.length : 0;
    } catch {
      return 0;
    }
  });
  return (await Promise.all(counts)).reduce((sum, each) => sum + each, 0);
}

function summary(own: number, ofOllama: number, served: number): Check {
  if (own + ofOllama === 0) {
    if (served > 0) return ok("models", `none in the store, ${served} with Ollama`);
    return warn(
      "models",
      "none is installed",
      "ollm models names one that fits and ollm pull gets it, or ask your assistant for one",
    );
  }
  const foreign = ofOllama > 0 ? `, ${ofOllama} of an Ollama store` : "";
  return ok("models", `${own} in the store${foreign}`);
}

function told(problems: readonly string[]): readonly Check[] {
  const hint = "Delete it (ollm rm) and get it again (ollm pull).";
  const named = problems.slice(0, namedProblems).map((message) => warn("models", message, hint));
  const more = problems.length - named.length;
  return more > 0 ? [...named, warn("models", `${more} more can't be used`, hint)] : named;
}
