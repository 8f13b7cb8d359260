import { realpath } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { InvalidConfig, InvalidRequest, OrchestratorError, StoreFailed, undefinedIf } from "../api/errors.ts";
import type { SettingsAccess, ShownSetting } from "../api/facade-status.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import { type Claim, claimFile } from "../storage/replace-file.ts";
import { counted } from "../util/format-bytes.ts";
import { createMutex } from "../util/joined-work.ts";
import { hideKeys } from "../util/control-characters.ts";
import { parseYaml } from "../util/parse-yaml.ts";
import { editText } from "./edit.ts";
import type { LiveSettings } from "./live.ts";
import { maxConfigBytes, parseConfigText, readConfigText, writeConfigText } from "./load.ts";
import {
  type FoundSetting,
  type Sources,
  type Tree,
  at,
  formatPath,
  parsePath,
  findSetting,
  leafPaths,
} from "./paths.ts";
import { describedSetting, parseSettings, schemaNodeAt, settingsNotes } from "./problems.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { isInRecord, masked, namesBelow, shownSettings } from "./shown.ts";
import { isRecord, messageOf } from "../util/values.ts";
import { parseOllamaHost } from "../util/ollama-host.ts";
import { ollamaServers } from "./ollama-servers.ts";
import { trustOf } from "./openai-servers.ts";

/** A concurrent writer may win each try; with eight writers, each of them wins once. */
const maxTries = 50;

/**
 * Sets one setting of `home/config.yaml`, or removes it (without `value`); every other byte of the file stays the same.
 * A text is converted to the setting's type. Nothing is written unless the whole file is valid afterwards. Throws
 * `InvalidRequest` for an unknown path, `InvalidConfig`, `StoreFailed`.
 */
export async function changeConfig(home: string, path: string, value?: unknown) {
  const file = join(home, "config.yaml");
  const { setting, meant } = await meantBy(path, value);
  for (let tries = 1; ; tries += 1) {
    const before = await readConfigText(file);
    const { text, source } = await edited(file, before, setting, meant);
    // Another process may have written since the file was read: its change must not be lost.
    if (text !== before && !(await replaceText(file, before, text))) {
      if (tries < maxTries) continue;
      throw new StoreFailed(`nothing was changed: other programs keep changing ${file}`, { next: { step: "retry" } });
    }
    return {
      file,
      setting,
      /** The value as written; undefined when the setting was removed. */
      value: meant,
      /** `/home/me/.ollm/config.yaml:3`, or `default`. */
      source,
      /** False when the file already had this value. */
      isChanged: text !== before,
      /** Restores the previous file, unless it has changed since. Throws `StoreFailed`. */
      undo: async () => void (text !== before && (await replaceText(file, text, before))),
    };
  }
}

/** The setting at a path, and the value as it is written. Throws `InvalidRequest`. */
async function meantBy(path: string, value: unknown): Promise<{ setting: FoundSetting; meant: unknown }> {
  const setting = parsePath(settingsSchema, path);
  if (value !== undefined && setting.type === "section" && !isInRecord(setting.path)) {
    throw new InvalidRequest(`${formatPath(setting.path)} is a section, not a setting`, {
      next: { step: "chooseOneOf", names: namesBelow(setting.path) },
    });
  }
  return { setting, meant: value === undefined ? undefined : await typed(setting, value) };
}

/** Writes the file if it still equals `before`; returns whether it did. Throws `StoreFailed`. */
export async function replaceText(file: string, before: string, text: string): Promise<boolean> {
  const claim = await lock(file);
  try {
    if ((await readConfigText(file)) !== before) return false;
    await writeConfigText(file, text);
    return true;
  } finally {
    await claim.release();
  }
}

/** A change takes milliseconds. */
const lockWaitMs = 15_000;
const lockPollMs = 15;

/** A lock on the file that the daemon and all commands respect. */
async function lock(file: string): Promise<Claim> {
  const name = `${await realpath(file).catch(() => file)}.lock`;
  const signal = AbortSignal.timeout(lockWaitMs);
  try {
    return await claimFile(name, { signal, pollMs: lockPollMs });
  } catch (error) {
    if (signal.aborted) {
      throw new StoreFailed(`nothing was changed: another process holds ${name}`, {
        next: { step: "retry" },
        cause: error,
      });
    }
    throw new StoreFailed(`nothing was changed: ${name} can't be created: ${messageOf(error)}`, {
      next: advice("free some disk space, or make the folder writable"),
      cause: error,
    });
  }
}

async function edited(file: string, before: string, setting: FoundSetting, value: unknown) {
  const problem = await problemOf(file, before);
  // A text that isn't YAML can't be edited; invalid values can, when the edit corrects them.
  const was = await parseConfigText(before, file, new Map()).catch(undefinedIf(OrchestratorError));
  if (problem !== undefined && was === undefined) throw broken(file, problem);
  if (value !== undefined && was !== undefined) refuseMissingEntry(was, setting.path);
  const text = await editText(before, { path: setting.path, value }, maxConfigBytes);
  const sources: Sources = new Map();
  const tree = await parseConfigText(text, file, sources);
  const name = formatPath(setting.path);
  const source = sources.get(name) ?? "default";
  if (value !== undefined) sources.set(name, "not written");
  try {
    const after = settingsNotes(parseSettings(tree, sources, file), new Map());
    if (value !== undefined && problem === undefined) await refuseUnused(after, file, before);
  } catch (error) {
    if (!(error instanceof InvalidConfig)) throw error;
    if (problem !== undefined) throw broken(file, problem);
    // The message of any other problem says what to do.
    const isValue = error.cause instanceof z.ZodError && error.cause.issues.some(({ code }) => code !== "custom");
    throw new InvalidConfig(error.message, { ...(isValue && { next: advice("give an allowed value") }), cause: error });
  }
  return { text, source };
}

/** Throws for a setting of an entry that its list doesn't have: it would be written beside the list. */
function refuseMissingEntry(tree: Tree, path: readonly string[]): void {
  for (const [index, key] of path.entries()) {
    const list = path.slice(0, index);
    if (schemaNodeAt(settingsSchema, list).type !== "array") continue;
    const found = at(tree, list);
    const entries = Array.isArray(found) ? found.length : 0;
    if (Number(key) < entries) continue;
    throw new InvalidConfig(
      `${formatPath(list)} has ${entries === 0 ? "no entries" : counted(entries, "entry", "entries")}, so there is no ${formatPath([...list, key])}`,
      { next: [advice(`add the entry as a whole to ${formatPath(list)}`), { step: "editSettings" }] },
    );
  }
}

/** Throws for a value that would never be used, unless the file already has it. */
async function refuseUnused(after: readonly string[], file: string, before: string): Promise<void> {
  if (after.length === 0) return;
  const settings = parseSettings(await parseConfigText(before, file, new Map()), new Map(), file);
  const known = settingsNotes(settings, new Map());
  const [note] = after.filter((each) => !known.includes(each));
  if (note !== undefined) throw new InvalidConfig(`not written: ${note}`);
}

/** What makes a text invalid as `file`; undefined when it is valid. */
export async function problemOf(file: string, text: string): Promise<OrchestratorError | undefined> {
  const sources: Sources = new Map();
  try {
    parseSettings(await parseConfigText(text, file, sources), sources, file);
    return undefined;
  } catch (error) {
    if (error instanceof OrchestratorError) return error;
    throw error;
  }
}

function broken(file: string, problem: OrchestratorError): InvalidConfig {
  return new InvalidConfig(`nothing was changed, because ${file} is invalid: ${problem.message}`, {
    next: { step: "editSettings" },
    cause: problem,
  });
}

/** A text converted to the setting's type where possible, other data as is; the schema checks the result. */
async function typed(setting: FoundSetting, value: unknown): Promise<unknown> {
  if (value === null) {
    const name = formatPath(setting.path);
    throw new InvalidRequest(`${name} can't be null`, { next: { step: "unsetSetting", setting: name } });
  }
  if (typeof value !== "string") return value;
  const text = value.trim();
  switch (setting.type) {
    case "string":
      return value;
    case "number":
      return text === "" || Number.isNaN(Number(text)) ? value : Number(text);
    case "boolean":
      if (/^(1|true|yes|on)$/i.test(text)) return true;
      return /^(0|false|no|off)$/i.test(text) ? false : value;
    case "list":
    case "commaList":
      if (!text.startsWith("[")) return text.split(",").flatMap((item) => (item.trim() === "" ? [] : [item.trim()]));
      return structured(setting, text);
    case "record":
    case "entryList":
    case "section":
      return structured(setting, text);
  }
}

/** Parses JSON, or YAML flow style such as `{code: qwen2.5-coder:7b}`. */
async function structured(setting: FoundSetting, text: string): Promise<unknown> {
  const parsed = await parseYaml(text, maxConfigBytes);
  if ("value" in parsed && typeof parsed.value === "object" && parsed.value !== null) return parsed.value;
  const examples = { record: '{"code": "name"}', section: '{"key": 1}', entryList: '[{"id": "kimi"}]' };
  const example = Object.hasOwn(examples, setting.type) ? examples[setting.type as keyof typeof examples] : '["a"]';
  throw new InvalidRequest(`${formatPath(setting.path)} must be JSON, not ${JSON.stringify(hideKeys(text))}`, {
    next: advice(`write it like '${example}'`),
  });
}

/** Lets callers read and change the settings of one home. */
export function createSettingsAccess(parts: { readonly home: string; readonly live: LiveSettings }): SettingsAccess {
  const { home, live } = parts;
  const file = join(home, "config.yaml");
  // Of two concurrent changes, each would overwrite the other.
  const inTurn = createMutex();

  function show(caller: CallerContext, path?: string): readonly ShownSetting[] {
    const daemonSettings = shownSettings(live.current(), live.sources(), path);
    const { configured } = caller;
    if (configured === undefined) return daemonSettings;
    const own = shownSettings(configured.settings as Settings, configured.sources, path).filter(
      ({ scope }) => scope !== "daemon",
    );
    // Not merged row by row: their records may have different keys.
    return [...daemonSettings.filter(({ scope }) => scope === "daemon"), ...own];
  }

  async function change(caller: CallerContext, path: string, value?: unknown): Promise<ShownSetting> {
    const changed = await inTurn(async () => {
      const written = await changeConfig(home, path, value);
      await live.reload();
      const problem = live.problem();
      if (problem === undefined) return written;
      await written.undo();
      await live.reload();
      throw new InvalidConfig(`nothing was changed: ${problem}`, { next: { step: "correctArguments" } });
    });
    const { setting, source } = changed;
    const name = formatPath(setting.path);
    // This caller's variables and flags override the file; `show` reports them as the source.
    const shown = (setting.scope === "daemon" ? live.sources() : caller.configured?.sources)?.get(name);
    if (shown !== undefined && !shown.startsWith(file))
      return show(caller, name)[0] ?? { path: name, value: undefined, source: shown, scope: setting.scope };
    // A section has several rows, each with its default again.
    const rows = shownSettings(live.current(), live.sources(), name);
    const now = changed.value ?? (rows.length === 1 ? rows[0]?.value : undefined);
    return { path: name, value: masked(setting.path, now), source, scope: setting.scope };
  }

  async function whyAsk(caller: CallerContext, given: string, value?: unknown): Promise<string | undefined> {
    const { setting, meant } = await meantBy(given, value);
    if (meant !== undefined) await edited(file, await readConfigText(file), setting, meant);
    const configured = caller.configured?.settings as Settings | undefined;
    return whyAskFor(setting.path, meant, [live.current(), ...(configured === undefined ? [] : [configured])]);
  }

  return {
    whyAsk,
    show: (caller, path) => Promise.resolve().then(() => show(caller, path)),
    set: (caller, path, value) => change(caller, path, value),
    unset: (caller, path) => change(caller, path),
    describe: describedSetting,
    problem: live.problem,
  };
}

/** Why settings need consent, by the beginning or end of their path; the first that matches. Completes "and". */
const reasons: readonly (readonly [RegExp, string])[] = [
  [/\.(?:system|description|templates)$/, "other clients and models read its text"],
  [/^memory\.|\.(?:sizeBytes|memoryBytes)$/, "it could fill this machine's memory, or keep models from loading"],
  [/^(?:conversations|jobs)\./, "it decides when kept conversations and results are deleted"],
  [/^queue\./, "it could refuse requests of other clients"],
  [/^daemon\./, "it could end the daemon between two calls"],
  [/^providers\.llamaCpp\.backend$/, "up to 368 MB of binaries are downloaded for it"],
  [/^(?:checks|workers)\b/, "it names programs that run on this machine"],
  [/^tools\./, "it decides which tools are offered"],
  [
    /^store\.path$/,
    "models are read from another folder (loaded ones stay until they are evicted or the daemon exits)",
  ],
  [/^log\./, "it decides what is written to the logs"],
  [/^savings\./, "it changes how savings are counted"],
  [/\.(?:prices|monthlyBudget)\b/, "it decides what may be spent"],
  [
    /^model\.(?:routing\.maxSwitchSeconds|judge)$|^schemaVersion$/,
    "it is not one of those that an assistant may change alone",
  ],
  [/^files\.roots$/, "it decides which folders' files assistants may read and write"],
  [/^files\./, "it decides how much of your files a request may read"],
  [/^privacy$/, "it decides whether prompts may leave this machine"],
  [/^network\./, "it decides which private addresses are connected to"],
  [/\.apiKey\w+$/, "it decides which secret is sent to a server"],
  [/^providers\./, "it decides which engines and servers get prompts"],
  [/^models\./, "it decides which requests a model gets"],
  [/^training\./, "it decides which prompts and answers are stored"],
  [/^store\./, "it decides what is read from and kept on this disk"],
  [/^http\.upstreams/, "requests of programs would be passed on to that address"],
  [/^http\.\w+WithoutToken$/, "programs on this machine would need no token for it"],
  [/^http\.allowed/, "it decides which web pages and hosts may connect"],
  [/^http\./, "it decides what other programs get over HTTP"],
  [/^/, "it may widen network or file access"],
];
const leavesThisMachine = "it could send later prompts to a paid or remote model";
/** A name of a model, family or profile, or a pattern of them: no sentence fits into it. */
const plainName = /^[\w.:/@+*?[\]{},!-]{1,120}$/;
const replaces = "it replaces all that the settings have there";
const isNoName = "other clients read its text";

/** Whether any engine of these settings may be paid for, or may be on another machine. */
function hasRemoteEngines({ privacy, providers: { ollama, openai } }: Settings): boolean {
  return (
    privacy !== "local_only" ||
    ollamaServers(ollama).some(({ host }) => !parseOllamaHost(host).isLoopback) ||
    openai.some((entry) => trustOf(entry) === "remote" || /"(?:prices|monthlyBudget)"/.test(JSON.stringify(entry)))
  );
}

/** All texts in a value, with the keys of its records. */
function textsIn(value: unknown): readonly string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) => [key, ...textsIn(each)]);
}

/** Why a setting of the schema at `leaf`, changed to `value`, needs consent; undefined if it doesn't. */
function whyAskForLeaf(leaf: readonly string[], value: unknown, isRemotePossible: () => boolean): string | undefined {
  const name = leaf.join(".");
  const free = findSetting(settingsSchema, leaf)?.free;
  const guarded = reasons.find(([pattern]) => pattern.test(name))?.[1];
  if (free === undefined) return guarded;
  if (typeof free === "object") {
    const isEnough = value === undefined || (typeof value === "number" && (value >= free.min || value === -1));
    return isEnough ? undefined : guarded;
  }
  const isCloud = (): boolean => textsIn(value).some((text) => /[:-]cloud$/i.test(text));
  if (free === "always" || !(isRemotePossible() || isCloud())) return undefined;
  return name.endsWith(".maxTokens") ? "it decides what may be spent" : leavesThisMachine;
}

let leaves: readonly (readonly string[])[] | undefined;

/**
 * Why an assistant may set `path` to `value`, or unset it (undefined), only after asking the user; undefined where it need
 * not. `settings` are those in force.
 */
export function whyAskFor(path: readonly string[], value: unknown, settings: readonly Settings[]): string | undefined {
  leaves ??= leafPaths(settingsSchema);
  const isRemotePossible = (): boolean => settings.some(hasRemoteEngines);
  const touched = leaves.filter((leaf) =>
    leaf.every((key, index) => index >= path.length || key === "*" || key === path[index]),
  );
  const whys = (touched.length === 0 ? [path] : touched).flatMap((leaf) => {
    const rest = leaf.slice(path.length);
    const part = isRecord(value) && !rest.includes("*") ? at(value, rest) : value;
    const why = whyAskForLeaf(leaf, part, isRemotePossible);
    return why === undefined ? [] : [value !== undefined && part === undefined ? replaces : why];
  });
  const first = whys.find((why) => why !== replaces);
  if (first !== undefined) return first;
  // The keys in a path are texts, too: patterns of models.
  const keys = path.filter((_key, index) => touched.some((leaf) => leaf[index] === "*"));
  return [...keys, ...textsIn(value)].every((text) => plainName.test(text)) ? whys[0] : isNoName;
}
