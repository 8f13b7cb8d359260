import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { expandHome } from "../../orchestrator/config/home.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { defined } from "../../orchestrator/util/values.ts";
import { meantBy } from "../../orchestrator/util/nearest.ts";
import type { CommandIo, Options } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "../terminal/terminal-text.ts";

import { textOf } from "./prompt-words.ts";

const keywords = ["FROM", "SYSTEM", "PARAMETER", "TEMPLATE", "ADAPTER", "LICENSE", "MESSAGE"];
/** Keywords of Ollama that would make another model if they were left out. */
const refused: ReadonlyMap<string, string> = new Map([
  ["MESSAGE", "put the examples into SYSTEM, or train on them"],
  ["RENDERER", "leave it out, or create the model with `ollama create`"],
  ["PARSER", "leave it out, or create the model with `ollama create`"],
]);
/** Those that say something about the model, and change no answer. */
const without: ReadonlySet<string> = new Set(["LICENSE", "REQUIRES"]);

/**
 * Reads a Modelfile by the rules of Ollama (`parser/parser.go`): keywords in any case, comments at the beginning of a line,
 * values in `"` or `"""`, which may have several lines. `from` is a model, or the path of a
 * GGUF file, `adapter` that of a LoRA adapter; `notes` say what has no effect here. Throws `InvalidRequest` with the file,
 * as `shown`, and the line.
 */
export function parseModelfile(text: string, shown: string) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|[\n\r]/);
  const single = new Map<string, string>();
  const parameters = new Map<string, string | readonly string[]>();
  const notes: string[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const line = (lines[at] ?? "").trimStart();
    const number = at + 1;
    if (line === "" || line.startsWith("#")) continue;
    const wrong = (problem: string, next = "correct the file and try again"): InvalidRequest =>
      new InvalidRequest(`${shown}:${number} ${problem}`, { next: advice(next) });
    const [, word = "", rest = ""] = /^(\S+)(.*)$/s.exec(line) ?? [];
    const keyword = word.toUpperCase();
    const instead = refused.get(keyword);
    if (instead !== undefined) throw wrong(`has ${keyword}, which is not supported`, instead);
    if (!keywords.includes(keyword) && !without.has(keyword)) throw unknownKeyword(word, wrong);
    const isParameter = keyword === "PARAMETER";
    const [, name, first = ""] = isParameter ? (/^\s+(\w+)(?:\s(.*))?$/s.exec(rest) ?? []) : ["", undefined, rest];
    if (isParameter && name === undefined) throw wrong("needs a name and a value: PARAMETER temperature 0.2");
    const given = [first];
    let value = unquoted(first);
    while (value === undefined && at + 1 < lines.length) {
      at += 1;
      given.push(lines[at] ?? "");
      if (lines[at]?.includes('"') === true) value = unquoted(given.join("\n"));
    }
    if (value === undefined) throw wrong(`has a value of ${keyword} whose quotation mark is not closed`);
    if (value === "" && keyword !== "SYSTEM" && keyword !== "LICENSE")
      throw wrong(`has no value for ${name ?? keyword}`);
    if (name !== undefined) {
      // The only one that has several values.
      parameters.set(name, name === "stop" ? [...[parameters.get(name) ?? []].flat(), value] : value);
    } else if (without.has(keyword)) notes.push(`${shown}:${number}: ${keyword} is left out`);
    else if (single.has(keyword) && (keyword === "FROM" || keyword === "ADAPTER")) {
      throw wrong(`has another ${keyword}; a model is created with one`);
    } else single.set(keyword, value);
  }
  const from = single.get("FROM");
  if (from === undefined) {
    throw new InvalidRequest(`${shown} has no FROM`, {
      next: advice("begin it with FROM and a model: FROM smollm2:135m"),
    });
  }
  const [system, template, adapter] = [single.get("SYSTEM"), single.get("TEMPLATE"), single.get("ADAPTER")];
  return { from, parameters: Object.fromEntries(parameters), notes, ...defined({ system, template, adapter }) };
}

function unknownKeyword(word: string, wrong: (problem: string, next?: string) => InvalidRequest): InvalidRequest {
  const next = meantBy(word.toUpperCase(), keywords, `the keywords are ${keywords.join(", ")}`, "");
  return wrong(`begins with ${word.slice(0, 40)}, which is no keyword`, next);
}

/** The text without its quotation marks; undefined while the mark at its end is missing. */
function unquoted(given: string): string | undefined {
  const text = given.trim();
  for (const mark of ['"""', '"']) {
    if (!text.startsWith(mark)) continue;
    const isClosed = text.length >= 2 * mark.length && text.endsWith(mark);
    return isClosed ? text.slice(mark.length, -mark.length) : undefined;
  }
  return text;
}

/** Each `parameter` is `name=value`. */
type CreateFlags = Options<{
  switch: "json" | "yes";
  text: "from" | "file" | "system" | "adapter";
  list: "parameter";
}>;

/** `ollm create NAME --from MODEL` or `-f Modelfile`: asks before it replaces a model. */
export async function createModel(name: string, flags: CreateFlags, io: CommandIo): Promise<number> {
  const { folder, recipe } = await recipeOf(flags, io);
  const { from, parameters, adapter, notes, ...texts } = recipe;
  const imported = flags.file === undefined ? undefined : await weightsAt(from, folder, io);
  return withSession(io, { onInterrupt: `interrupted: ${name} was not created` }, async ({ call }) => {
    for (const note of notes) io.stderr(`${oneLine(note)}\n`);
    let base = from;
    if (imported !== undefined) {
      const asked = { model: name.replace(/(?=(?::[^/:]*)?$)/, "-base"), from: imported };
      base = (await call("pull_model", asked, { progress: "always" })).structured.name;
      io.stderr(`${oneLine(`${from} is ${base} now, from which ${name} is created`)}\n`);
    }
    const { structured, text } = await call("manage_model", {
      action: "create",
      model: name,
      base,
      ...texts,
      parameters: Object.keys(parameters).length === 0 ? undefined : parameters,
      adapter: adapter === undefined ? undefined : resolve(folder, expandHome(adapter, io.userHome)),
      confirm: flags.yes,
    });
    show(structured, flags, io, () => `${oneLine(text)}\n`);
  });
}

/** What the options say, or a Modelfile, whose paths are relative to its folder. Throws `InvalidRequest`. */
async function recipeOf(
  { from, file, system, parameter = [], adapter }: CreateFlags,
  io: CommandIo,
): Promise<{ readonly folder: string; readonly recipe: ReturnType<typeof parseModelfile> }> {
  if (file === undefined) {
    if (from === undefined) {
      throw new InvalidRequest("ollm create needs a model, or a file that names one", {
        next: advice("add --from MODEL or -f Modelfile"),
      });
    }
    const recipe = { from, parameters: parametersOf(parameter), notes: [], ...defined({ system, adapter }) };
    return { folder: io.workingDirectory, recipe };
  }
  if (from !== undefined || system !== undefined || adapter !== undefined || parameter.length > 0) {
    throw new InvalidRequest("-f takes all from the Modelfile", {
      next: advice("leave out the other options, or -f"),
    });
  }
  const recipe = parseModelfile(await textOf(file, io), file);
  return { folder: dirname(resolve(io.workingDirectory, file)), recipe };
}

/** The weights that FROM names by a path; undefined if it names a model. Throws `InvalidRequest` for a folder. */
async function weightsAt(from: string, folder: string, io: CommandIo): Promise<string | undefined> {
  const file = resolve(folder, expandHome(from, io.userHome));
  const found = await stat(file).catch(() => undefined);
  const isPath = /^(?:[.~]{0,2}[\\/]|[A-Za-z]:[\\/])/.test(from) || /^[^:]*\.gguf$/i.test(from);
  if (isPath && found?.isDirectory() === true) {
    throw new InvalidRequest(`${from} is a folder, and FROM needs a model or a GGUF file`, {
      next: advice("convert it with llama.cpp's convert_hf_to_gguf.py"),
    });
  }
  return isPath || found?.isFile() === true ? file : undefined;
}

/** Parses `name=value` pairs; a repeated name (`stop`) gets a list of values. Throws `InvalidRequest`. */
function parametersOf(words: readonly string[]): Readonly<Record<string, string | readonly string[]>> {
  const parameters = new Map<string, readonly string[]>();
  for (const word of words) {
    const [, name = "", value = ""] = /^([^=]+)=([\s\S]*)$/.exec(word) ?? [];
    if (name === "") throw new InvalidRequest(`--parameter ${word} is not NAME=VALUE`);
    parameters.set(name, [...(parameters.get(name) ?? []), value]);
  }
  return Object.fromEntries(
    [...parameters].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? "") : values]),
  );
}
