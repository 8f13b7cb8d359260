import { join } from "node:path";
import { InvalidConfig, InvalidRequest, OrchestratorError, StoreFailed } from "../errors.ts";
import { advice } from "../next-step.ts";
import { parseYaml } from "../text/parse-yaml.ts";
import { editText } from "./edit.ts";
import { maxConfigBytes, parseConfigText, readConfigText, writeConfigText } from "./file.ts";
import { whileLocked } from "./file-lock.ts";
import { settingsNotes } from "./notes.ts";
import { type FoundSetting, formatPath, parsePath } from "./paths.ts";
import { parseSettings } from "./problems.ts";
import { settingsSchema } from "./schema.ts";
import { isInRecord, namesBelow } from "./shown.ts";
import type { Sources } from "./tree.ts";

/** A change of `config.yaml` that is on disk. */
export interface ConfigChange {
  readonly file: string;
  readonly setting: FoundSetting;
  /** As it was written; undefined when it was taken out. */
  readonly value: unknown;
  /** `/home/me/.ollm/config.yaml:3`, or `default`. */
  readonly source: string;
  /** False when the file said so already. */
  readonly isChanged: boolean;
  /** Puts the file back as it was, unless somebody has changed it since. Throws `StoreFailed`. */
  undo(): Promise<void>;
}

/** Somebody else who writes at the same time goes first; with eight of them each goes first once. */
const maxTries = 50;

/**
 * Sets or (without `value`) takes out one setting of `home/config.yaml`; the rest of the file stays to the byte. Texts
 * are read as the setting's type wants them. Nothing is written unless the whole file is right after it. Throws
 * `InvalidRequest` for a path that is none, `InvalidConfig`, `StoreFailed`.
 */
export async function changeConfig(home: string, path: string, value?: unknown): Promise<ConfigChange> {
  const file = join(home, "config.yaml");
  const setting = parsePath(settingsSchema, path);
  if (value !== undefined && setting.type === "section" && !isInRecord(setting.path)) {
    throw new InvalidRequest(`${formatPath(setting.path)} is a section, not a setting`, {
      next: { step: "chooseOneOf", names: namesBelow(setting.path) },
    });
  }
  const meant = value === undefined ? undefined : await typed(setting, value);
  for (let tries = 1; ; tries += 1) {
    const before = await readConfigText(file);
    const { text, source } = await edited(file, before, setting, meant);
    // Between reading and writing somebody may have written: what they did must not be lost.
    if (text !== before && !(await replaceText(file, before, text))) {
      if (tries < maxTries) continue;
      throw new StoreFailed(`nothing was changed: other programs keep changing ${file}`, { next: { step: "retry" } });
    }
    return {
      file,
      setting,
      value: meant,
      source,
      isChanged: text !== before,
      undo: async () => void (text !== before && (await replaceText(file, text, before))),
    };
  }
}

/** Writes the file unless it is not `before` any more; answers whether it did. Throws `StoreFailed`. */
export function replaceText(file: string, before: string, text: string): Promise<boolean> {
  return whileLocked(file, async () => {
    if ((await readConfigText(file)) !== before) return false;
    await writeConfigText(file, text);
    return true;
  });
}

async function edited(
  file: string,
  before: string,
  setting: FoundSetting,
  value: unknown,
): Promise<{ readonly text: string; readonly source: string }> {
  const problem = await problemOf(file, before);
  // Words that are no YAML can't be edited; wrong values can, when that mends them.
  if (problem !== undefined && !(await isReadable(file, before))) throw broken(file, problem);
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
    throw new InvalidConfig(`nothing was changed: ${error.message}`, {
      next: advice("give an allowed value"),
      cause: error,
    });
  }
  return { text, source };
}

/** What `config validate` says is never used is not written in the first place; what stands there already may stay. */
async function refuseUnused(after: readonly string[], file: string, before: string): Promise<void> {
  if (after.length === 0) return;
  const settings = parseSettings(await parseConfigText(before, file, new Map()), new Map(), file);
  const known = settingsNotes(settings, new Map());
  const [note] = after.filter((each) => !known.includes(each));
  if (note !== undefined) throw new InvalidConfig(`not written: ${note}`);
}

/** Why a text would not be obeyed as `file`; undefined when it would. */
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

async function isReadable(file: string, text: string): Promise<boolean> {
  try {
    await parseConfigText(text, file, new Map());
    return true;
  } catch (error) {
    if (error instanceof OrchestratorError) return false;
    throw error;
  }
}

function broken(file: string, problem: OrchestratorError): InvalidConfig {
  return new InvalidConfig(`${file} is broken, and nothing was changed: ${problem.message}`, {
    next: { step: "editSettings" },
    cause: problem,
  });
}

/** A text as the setting's type wants it, where it can be that; the schema judges. Other data as it is. */
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
    case "section":
      return structured(setting, text);
  }
}

/** JSON, or what YAML reads in its place: `{code: qwen2.5-coder:7b}`. */
async function structured(setting: FoundSetting, text: string): Promise<unknown> {
  const parsed = await parseYaml(text, maxConfigBytes);
  if ("value" in parsed && typeof parsed.value === "object" && parsed.value !== null) return parsed.value;
  const example = setting.type === "record" ? '{"code": "name"}' : setting.type === "section" ? '{"key": 1}' : '["a"]';
  throw new InvalidRequest(`${formatPath(setting.path)} needs JSON, and ${JSON.stringify(text)} is none`, {
    next: advice(`write it like '${example}'`),
  });
}
