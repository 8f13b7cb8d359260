import path from "node:path";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { createLog } from "../../orchestrator/api/log.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import type { LoadedSettings } from "../../orchestrator/config/load.ts";
import { readApiKey } from "../../orchestrator/config/api-key.ts";
import { isOllamaOptional, ollamaServers } from "../../orchestrator/config/ollama-servers.ts";
import { type OpenAiServer, trustOf } from "../../orchestrator/config/openai-servers.ts";
import { findInstalled } from "../../orchestrator/engines/llama-cpp/install/lock.ts";
import {
  type PlatformFacts,
  backendNames,
  currentPlatform,
  engineFolderName,
  engineVersion,
  lockName,
} from "../../orchestrator/engines/llama-cpp/install/platform.ts";
import { ollamaStoreCandidates, storeLayout } from "../../orchestrator/engines/llama-cpp/store/layout.ts";
import { type StoredModel, createStoreReader } from "../../orchestrator/engines/llama-cpp/store/reader.ts";
import { answersTogether, keptSpeeds, speedsFileOf } from "../../orchestrator/engines/llama-cpp/child/threads.ts";
import { isOllamaInstalled, ollamaKey } from "../../orchestrator/engines/ollama/installed.ts";
import { createKeptLearning } from "../../orchestrator/residency/kept-learning.ts";
import { createDocumentFiles, readOnlyFiles } from "../../orchestrator/storage/document-files.ts";
import { counted } from "../../orchestrator/util/format-bytes.ts";
import { formatModelName, sameModel } from "../../orchestrator/util/model-name.ts";
import { parseOllamaHost } from "../../orchestrator/util/ollama-host.ts";
import { fieldsIn } from "../../orchestrator/util/values.ts";
import { within } from "../../orchestrator/util/timers.ts";
import type { CommandIo } from "../terminal/io.ts";
import { type Check, type Checker, type DoctorWorld, type Reply, fail, ok, stepsFor, warn } from "./check.ts";

const setHost = { step: "changeSetting", setting: "providers.ollama.host", to: "URL" } as const;

/**
 * Checks that Ollama and the servers of `providers.openai` respond, and whether the embedded engine is installed. One
 * engine is enough; the embedded engine counts even before it is installed, since the first download of a model
 * installs it.
 */
export const checkEngines: Checker = async (world, signal) => {
  const { ollama, llamaCpp, openai } = world.settings.providers;
  const platform = currentPlatform(llamaCpp.backend);
  const isInstallable = llamaCpp.enabled && lockName(platform) !== undefined;
  const asked: readonly (Check | undefined)[] = await Promise.all([
    ...(ollama.enabled
      ? // A failed server is only a warning when there are others.
        ollamaServers(ollama).map((server, index) => askOllama(server, index > 0 || isInstallable, world, signal))
      : [ok("ollama", "disabled")]),
    llamaCpp.enabled ? lookForEmbedded(world.home, platform, isInstallable) : ok("embedded engine", "disabled"),
    ...openai.map((entry, index) => askOpenAiServer(entry, index, world, signal)),
  ]);
  const checks = asked.filter((check) => check !== undefined);
  if (ollama.enabled || llamaCpp.enabled || openai.length > 0) return checks;
  return [
    ...checks,
    fail("engines", "all engines are disabled", [
      { step: "changeSetting", setting: "providers.llamaCpp.enabled", to: "true" },
      { step: "changeSetting", setting: "providers.ollama.enabled", to: "true" },
    ]),
  ];
};

/** The response of `url`. Rejects after `boundMs`. */
function getWithin(
  get: DoctorWorld["get"],
  url: string,
  signal: AbortSignal,
  boundMs: number,
  key?: string,
): Promise<Reply> {
  return within(
    { ms: boundMs, signal },
    (bound) => get(url, bound, key),
    () => {
      throw signal.aborted ? signal.reason : new Error(`no response within ${boundMs / 1_000} s`);
    },
  );
}

/** Undefined for a server that does not respond and is not expected to. */
async function askOllama(
  { id: name, host }: ReturnType<typeof ollamaServers>[number],
  hasOther: boolean,
  world: Pick<DoctorWorld, "get" | "isOllamaExpected">,
  signal: AbortSignal,
): Promise<Check | undefined> {
  try {
    const { baseUrl, label } = parseOllamaHost(host);
    const problem = (text: string, next: NextSteps) => (hasOther ? warn : fail)(name, text, next);
    try {
      const { body } = await getWithin(world.get, `${baseUrl}/api/version`, signal, 1_500);
      // With the version, or in what it says of the token.
      if (/\bollm\b/.test(body)) {
        const text = `no Ollama server at ${label}: ollm itself answers there (http.ollamaPort)`;
        return hasOther ? ok(name, text) : fail(name, text, setHost);
      }
      const { version } = fieldsIn(body);
      if (typeof version === "string") return ok(name, `${version} at ${label}`);
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

async function lookForEmbedded(home: string, platform: PlatformFacts, isInstallable: boolean): Promise<Check> {
  const name = "embedded engine";
  const { backend = "cpu" } = platform;
  if (!isInstallable) {
    const forCards = backend === "cpu" ? "" : ` with ${backendNames[backend]}`;
    const next = backend === "cpu" ? advice("install Ollama") : advice("run `ollm setup --engine cpu`");
    return warn(name, `no binaries for ${process.platform}-${process.arch}${forCards}`, next);
  }
  const folder = path.join(home, "engines", engineFolderName(platform));
  if ((await findInstalled(folder)) !== undefined) {
    const forCards = backend === "cpu" ? "" : `, ${backendNames[backend]}`;
    return ok(name, `llama.cpp (node-llama-cpp ${engineVersion}${forCards}) is installed`);
  }
  return ok(name, "not installed yet; ollm setup --engine installs it, as does the first pull or load that needs it");
}

/** Asks for its models, with its key: the daemon does the same, and nothing else is free. */
async function askOpenAiServer(
  entry: OpenAiServer,
  index: number,
  { io, get, settings }: Pick<DoctorWorld, "io" | "get" | "settings">,
  signal: AbortSignal,
): Promise<Check> {
  const { id, baseUrl, models } = entry;
  if (settings.privacy === "local_only" && trustOf(entry) === "remote")
    return ok(id, "not contacted: it is not local, and privacy is local_only");
  const { host, origin, pathname } = new URL(baseUrl);
  const setting = `providers.openai[${index}]`;
  const setAddress = { step: "changeSetting", setting: `${setting}.baseUrl`, to: "URL" } as const;
  try {
    const key = await readApiKey(entry, { ...io, variable: (name) => io.environment[name] });
    const base = pathname.replace(/\/+$/, "");
    // As the engine reads it: a version stands in the address, or is meant.
    const url = `${origin}${base}${/\/v\d/.test(base) ? "" : "/v1"}/models`;
    const { status, body } = await getWithin(get, url, signal, 2_500, key);
    if (status === 401 || status === 403) {
      const from = entry.apiKeyFile ?? entry.apiKeyEnv;
      return from === undefined
        ? fail(id, `${host} needs a key`, { step: "changeSetting", setting: `${setting}.apiKeyFile`, to: "FILE" })
        : fail(id, `${host} refuses the key in ${from} (HTTP ${status})`, advice(`put a valid key into ${from}`));
    }
    const { data } = fieldsIn(body);
    if (body.includes('"ollm/auto"'))
      return warn(id, `an ollm answers at ${host}: if it is this one, it refuses its own requests`, setAddress);
    if (status === 200 && Array.isArray(data)) return ok(id, `${counted(data.length, "model")} at ${host}`);
    if (models !== undefined && status === 404)
      return ok(id, `${counted(models.length, "model")} at ${host}, without a list`);
    return fail(id, `${host} has no list of models (HTTP ${status})`, setAddress);
  } catch (error) {
    if (error instanceof OrchestratorError) return fail(id, error.message, stepsFor(error, setAddress));
    return fail(id, `no response from ${host} (${codeOf(error)})`, [
      advice("start it, or check the connection"),
      setAddress,
    ]);
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
  return (await kept.hosts()).includes(ollamaKey(providers.ollama.host) ?? "");
}

/** This many broken models are listed; the rest are counted. */
const namedProblems = 5;

/**
 * Counts the models in the own store and in Ollama's, and reports models that can't be used and models that settings
 * name but that are not installed. Ollama is asked too, since its store may belong to another user.
 */
export const checkModels: Checker = async (world, signal) => {
  const serving = servedNames(world, signal);
  const problems: string[] = [];
  const measured: Check[] = [];
  const log = createLog("warn", (line) => problems.push(line.replace(/^ollm warn: /, "")));
  const { own: ownFolder, foreign } = storeFolders(world);
  const held = async (folder: string, isReadOnly: boolean): Promise<readonly string[]> => {
    const reader = createStoreReader(storeLayout(folder, world.io.platform), isReadOnly, log);
    const models = await Promise.all((await reader.entries()).map((entry) => reader.read(entry)));
    for (const model of models) {
      if (model?.unsupported !== undefined) problems.push(`${model.name}: ${model.unsupported}`);
    }
    const found = models.filter((model) => model !== undefined);
    measured.push(...(await Promise.all(found.map((model) => threadsOf(world, model)))).flat());
    return found.map(({ name }) => name);
  };
  const own = await held(ownFolder, false);
  const ofOllama = (await Promise.all(foreign.map((folder) => held(folder, true)))).flat();
  const served = await serving;
  const names = [...own, ...ofOllama, ...served.flatMap((server) => server ?? [])];
  // A server that doesn't respond, or isn't asked here, may have the missing models.
  const others = world.settings.providers.openai.length;
  const mayHave = others > 0 || (served.includes(undefined) && world.isOllamaExpected);
  const missing = mayHave ? [] : missingModels(world, names);
  return [
    summary(own.length, ofOllama.length, served.flatMap((each) => each ?? []).length, others),
    ...missing,
    ...reported(problems),
    ...measured,
  ];
};

/** What the embedded engine measured of a model on this machine; nothing if it has not loaded it. */
async function threadsOf({ home }: DoctorWorld, model: StoredModel): Promise<readonly Check[]> {
  const file = speedsFileOf(path.join(home, "cache"), model, engineVersion);
  const { reading, writing, together } = await keptSpeeds(file);
  const texts = Object.entries({ reads: reading, writes: writing }).flatMap(([does, speeds]) => {
    const [best] = [...(speeds ?? [])].toSorted(([, one], [, other]) => other - one);
    return best === undefined
      ? []
      : [`${does} ${Number((best[1] * 1_000).toPrecision(2))} tokens/s with ${counted(best[0], "thread")}`];
  });
  const atOnce = answersTogether(new Map(together.map(([width, speed]) => [width, { speed, atMs: 0 }])), 0);
  if (together.length > 1)
    texts.push(atOnce === 1 ? "answers one after the other" : `answers up to ${atOnce} requests at once`);
  return texts.length === 0 ? [] : [ok("speed", `${model.name} ${texts.join(", ")}`)];
}

/**
 * The names of the models in the own store, in Ollama's and at each Ollama server that answers before `signal` aborts,
 * sorted. Starts no daemon and reads no manifest, so a model may turn out to be unusable.
 */
export async function installedNames(
  world: Pick<DoctorWorld, "home" | "io" | "settings" | "get">,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const serving = servedNames(world, signal);
  const { own, foreign } = storeFolders(world);
  const log = createLog("warn", () => undefined);
  const stored = [own, ...foreign].map(async (folder) => {
    const entries = await createStoreReader(storeLayout(folder, world.io.platform), true, log).entries();
    return entries.map(({ name }) => formatModelName(name));
  });
  const lists = [...(await Promise.all(stored)), ...(await serving)];
  return [...new Set(lists.flatMap((list) => list ?? []))].toSorted();
}

/** The folder of the own store, and those where Ollama's may be. */
function storeFolders({ home, io, settings }: Pick<DoctorWorld, "home" | "io" | "settings">) {
  const own = path.resolve(settings.store.path ?? path.join(home, "models"));
  const candidates = ollamaStoreCandidates(io.environment, io.platform, io.userHome);
  return { own, foreign: settings.store.readOllama ? candidates.filter((folder) => folder !== own) : [] };
}

/** A warning for each model that a setting or the project names and that no engine has. */
function missingModels({ settings, projectModels = [] }: DoctorWorld, held: readonly string[]): readonly Check[] {
  const { model } = settings;
  const named: readonly (readonly [where: string, name: string | undefined])[] = [
    ["model.default", model.default],
    ...Object.entries(model.routing.overrides).map(
      ([task, name]) => [`model.routing.overrides.${task}`, name] as const,
    ),
    // A pattern may match nothing.
    ...model.keepAlive.models
      .filter((name) => !/[*?[\]{}()!+@|]/.test(name))
      .map((name) => ["model.keepAlive.models", name] as const),
    ...model.keepAlive.preload.map((name) => ["model.keepAlive.preload", name] as const),
    ...profileModels(settings.profiles).map(({ at, name }) => [at, name] as const),
    ...projectModels.map(({ source, name }) => [source, name] as const),
  ];
  return named.flatMap(([where, name]) => {
    if (name === undefined || held.some((each) => sameModel(each, name))) return [];
    return [
      warn("models", `${where} names ${name}, which is not installed`, [
        { step: "pullModel", model: name },
        advice("name another model"),
      ]),
    ];
  });
}

/** The models that profiles name, with the setting. */
export function profileModels(
  profiles: Readonly<
    Record<
      string,
      { readonly models?: readonly string[] | undefined; readonly fallback?: string | readonly string[] | undefined }
    >
  >,
): readonly { readonly at: string; readonly name: string }[] {
  return Object.entries(profiles).flatMap(([profile, { models = [], fallback }]) => [
    ...models.map((name) => ({ at: `profiles.${profile}.models`, name })),
    // A text is the name of another profile.
    ...(typeof fallback === "object" ? fallback : []).map((name) => ({ at: `profiles.${profile}.fallback`, name })),
  ]);
}

/** The models of each Ollama server; undefined for a server that doesn't respond, which another check reports. */
async function servedNames(
  { settings, get }: Pick<DoctorWorld, "settings" | "get">,
  signal: AbortSignal,
): Promise<readonly (readonly string[] | undefined)[]> {
  if (!settings.providers.ollama.enabled) return [];
  const lists = ollamaServers(settings.providers.ollama).map(async ({ host }) => {
    try {
      const { baseUrl } = parseOllamaHost(host);
      const { body } = await getWithin(get, `${baseUrl}/api/tags`, signal, 1_000);
      const { models } = fieldsIn(body);
      if (!Array.isArray(models)) return undefined;
      return models.map((each: unknown) => String((each as { readonly name?: unknown } | null)?.name));
    } catch {
      return undefined;
    }
  });
  return Promise.all(lists);
}

function summary(own: number, ofOllama: number, served: number, otherServers: number): Check {
  if (own + ofOllama === 0) {
    if (served > 0) return ok("models", `none in the store, ${served} in Ollama`);
    if (otherServers > 0) return ok("models", "none in the store; ollm list shows those of providers.openai");
    return warn("models", "none installed", advice("run `ollm models`: it names one that this machine runs well"));
  }
  const foreign = ofOllama > 0 ? `, ${ofOllama} in Ollama's store` : "";
  return ok("models", `${own} in the store${foreign}`);
}

function reported(problems: readonly string[]): readonly Check[] {
  const next = { step: "pullModelAfresh", model: "NAME" } as const;
  const named = problems.slice(0, namedProblems).map((message) => warn("models", message, next));
  const more = problems.length - named.length;
  return more > 0 ? [...named, warn("models", `${more} more can't be used`, next)] : named;
}
