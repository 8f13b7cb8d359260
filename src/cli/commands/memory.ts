import { textOf } from "./prompt-words.ts";
import { Option } from "commander";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { jsonText, oneLine } from "../../orchestrator/util/control-characters.ts";
import { messageOf, parseJson } from "../../orchestrator/util/values.ts";
import { counted, localTime } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import { type CommandIo, agree, type JsonOption, type Options } from "../terminal/io.ts";
import { showCall, showRead, withSession } from "../terminal/session.ts";
import { type Column, renderTable, show, styled } from "../terminal/terminal-text.ts";
import { type ShellCommand, repeated, numberBetween } from "./options.ts";

const entryShape = "key, value, category, scope, tags, pinned, source, updated_at";
const categories: readonly NonNullable<AddFlags["category"]>[] = ["fact", "preference", "context"];

/** `ollm memory`: facts and preferences kept across sessions. */
export function addMemories(program: ShellCommand): void {
  program.commandsGroup("Context:");
  const memory = program.command("memory");

  memory.command("list").json(`entries[{${entryShape}}], total`).does(listMemory);

  memory
    .command("search")
    .argument("<words...>", "what to look for")
    .addOption(new Option("--category <category>", "only this category").choices(categories))
    .option("--limit <number>", "limit of results (default: 10)", numberBetween(1, 100, "whole"))
    .does(searchMemory);

  memory.command("show").argument("<key>", "a key from ollm memory list").json(entryShape).does(showMemory);

  memory
    .command("add")
    .argument("<key>", "the key; an existing one gets the new value")
    .argument("<value...>", "the value")
    .addOption(new Option("--category <category>", "category (default: fact)").choices(categories))
    .option("--project", "for the project of this folder only")
    .option("--tag <tag>", "tag; repeatable", repeated)
    .option("--pin", "add it to every prompt")
    .option("--ttl <seconds>", "forget it after this time; 0: never", numberBetween(0, 4_000_000_000, "whole"))
    .option("--force", "save it even if it looks like a secret")
    .does(addMemory);

  memory
    .command("forget")
    .argument("[keys...]", "a key from ollm memory list")
    .option("--all", "all entries")
    .option("-y, --yes", "don't ask")
    .does(forgetMemory);

  memory.command("export").option("--markdown", "as Markdown (default: JSON)").does(exportMemory);

  memory
    .command("import")
    .argument("[file]", "an export (default: piped input)")
    .option("--markdown", "read Markdown (default: by the file's extension)")
    .option("--force", "import entries that look like secrets, too")
    .does(importMemory);
}

type Entry = ResourceData["ollm://memory"]["entries"][number];
/** An entry as `recall` returns it, with fewer fields. */
type FoundEntry = ToolAnswers["recall"]["entries"][number];

const columns: readonly Column<Entry | FoundEntry>[] = [
  { title: "KEY", text: ({ key }) => oneLine(key), style: ({ pinned }) => (pinned === true ? "cyan" : undefined) },
  { title: "VALUE", text: ({ value }) => oneLine(value) },
  { title: "KIND", text: kindOf, isExtra: 1 },
  { title: "CHANGED", text: ({ updated_at }) => localTime(updated_at).slice(0, 10), isExtra: 2 },
];

/** `ollm memory list`: the newest entries. */
export function listMemory(options: JsonOption, io: CommandIo): Promise<number> {
  return showRead(["ollm://memory"], options, io, (listing) => {
    if (listing.entries.length === 0) return "No memories.\n";
    return `${renderTable(listing.entries, columns, io)}${restOf(listing, "ollm memory export prints all", io)}`;
  });
}

/** `ollm memory search WORDS`. The exit code is 1 if nothing matches, as in grep. */
export function searchMemory(
  words: readonly string[],
  options: Pick<AddFlags, "category" | "json"> & Options<{ number: "limit" }>,
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    const { category, limit } = options;
    const { structured } = await call("recall", { query: words.join(" "), category, limit });
    show(structured, options, io, (found) => {
      const how = found.method === "hybrid" ? "by words and meaning" : "by words";
      if (found.entries.length === 0) return `No memory matches (searched ${how}).\n`;
      return `${renderTable(found.entries, columns, io)}${styled(`found ${how}`, "dim", io)}\n${restOf(found, "--limit shows more", io)}`;
    });
    return structured.entries.length === 0 ? 1 : 0;
  });
}

/** `ollm memory show KEY`: the value, then its properties. */
function showMemory(key: string, options: JsonOption, io: CommandIo): Promise<number> {
  return showRead(["ollm://memory/{key}", key], options, io, (row) => {
    const facts = [
      kindOf(row),
      row.pinned ? "pinned" : "",
      row.tags === undefined || row.tags.length === 0 ? "" : `tags ${row.tags.map(oneLine).join(", ")}`,
      `source ${row.source ?? "unknown"}`,
      `changed ${localTime(row.updated_at)}`,
      row.expires_at === undefined ? "" : `expires ${localTime(row.expires_at)}`,
      `used ${counted(row.access_count ?? 0, "time")}`,
      row.project === undefined ? "" : `project ${oneLine(row.project)}`,
      row.previous === undefined ? "" : `previous value: ${oneLine(row.previous.value)}`,
    ].filter((fact) => fact !== "");
    return `${row.value.split("\n").map(oneLine).join("\n")}\n${facts.map((fact) => `${styled(fact, "dim", io)}\n`).join("")}`;
  });
}

/** Options of `ollm memory add`. */
interface AddFlags extends Options<{ switch: "project" | "pin" | "force" | "json"; number: "ttl"; list: "tag" }> {
  readonly category?: NonNullable<ToolInputs["remember"]["category"]>;
}

/** `ollm memory add KEY VALUE`. */
export function addMemory(key: string, words: readonly string[], flags: AddFlags, io: CommandIo): Promise<number> {
  const { json, project, tag: tags, pin: pinned, ...given } = flags;
  const scope = project === true ? "project" : undefined;
  return showCall("remember", { ...given, key, value: words.join(" "), scope, tags, pinned }, { json }, io);
}

/** `ollm memory forget KEY...`, or `--all`; asks before it deletes several. */
export function forgetMemory(
  keys: readonly string[],
  options: Options<{ switch: "all" | "yes" | "json" }>,
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    if ((keys.length === 0) === (options.all !== true)) {
      throw new InvalidRequest("forget needs either keys or --all", { next: { step: "listMemories" } });
    }
    if (keys.length > 1 && options.yes !== true) await agree(`Forget ${keys.length} entries (${keys.join(", ")})?`, io);
    const requests =
      options.all === true ? [{ all: true, confirm: options.yes }] : keys.map((key) => ({ key, confirm: true }));
    const forgotten: string[] = [];
    let total = 0;
    for (const request of requests) {
      const { structured, text } = await call("forget", request);
      forgotten.push(...structured.forgotten);
      total += structured.total;
      if (options.json !== true) io.stdout(`${oneLine(text)}\n`);
    }
    if (options.json === true) show({ forgotten, total }, options, io, () => "");
  });
}

/** `ollm memory export`: all entries of this home, those of projects included, as JSON or Markdown on stdout. */
function exportMemory(options: Options<{ switch: "markdown" | "json" }>, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    if (options.markdown === true && options.json === true) {
      throw new InvalidRequest("--json and --markdown exclude each other", { next: advice("leave out one of them") });
    }
    const format = options.markdown === true ? "markdown" : "json";
    const pages: string[] = [];
    let after: string | undefined;
    do {
      const { structured } = await call("transfer_memories", { action: "export", format, after });
      pages.push(structured.text ?? "");
      after = structured.next;
    } while (after !== undefined);
    io.content(joinPages(pages, options.markdown === true));
  });
}

/** `ollm memory import [FILE]`: an export, Markdown by its extension. The exit code is 1 if entries were rejected. */
function importMemory(
  file: string | undefined,
  options: Options<{ switch: "markdown" | "force" | "json" }>,
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async ({ call, signal }) => {
    const text = file === undefined || file === "-" ? await io.readInput?.(signal) : await textOf(file, io, anExport);
    if (text === undefined) {
      throw new InvalidRequest("import needs a file", { next: [advice("name one"), advice("pipe it in")] });
    }
    const isMarkdown = options.markdown === true || (file !== undefined && /\.(md|markdown)$/i.test(file));
    const format = isMarkdown ? "markdown" : "json";
    let imported = 0;
    const refused: string[] = [];
    for (const piece of splitExport(text.replace(/^\uFEFF/, ""), isMarkdown)) {
      const asked = { action: "import", format, text: piece, force: options.force } as const;
      const { structured } = await call("transfer_memories", asked);
      imported += structured.imported ?? 0;
      refused.push(...(structured.refused ?? []));
    }
    for (const reason of refused) io.stderr(`rejected: ${oneLine(reason)}\n`);
    show(
      { imported, ...(refused.length === 0 ? {} : { refused }) },
      options,
      io,
      () => `Imported ${counted(imported, "entry", "entries")}.\n`,
    );
    return refused.length > 0 ? 1 : 0;
  });
}

function kindOf({ category = "fact", scope = "global" }: Entry | FoundEntry): string {
  return scope === "global" ? category : `${category}, ${scope}`;
}

function restOf(
  { entries, total }: ToolAnswers["recall"] | ResourceData["ollm://memory"],
  howToSeeMore: string,
  io: CommandIo,
): string {
  return total > entries.length ? `${styled(`${entries.length} of ${total}; ${howToSeeMore}`, "dim", io)}\n` : "";
}

/** Characters of one import: below the limit of 4 MiB a message, whatever their encoding. */
const importChars = 400_000;

/** Joins the pages of an export. */
export function joinPages(pages: readonly string[], isMarkdown: boolean): string {
  const [first = "", ...rest] = pages;
  if (rest.length === 0) return first;
  // Each page repeats the title before its first heading.
  if (isMarkdown) return [first, ...rest.map((page) => page.slice(page.indexOf("\n## ")))].join("");
  const read = pages.map((page) => JSON.parse(page) as { readonly entries: readonly unknown[] });
  return `${jsonText({ ...read[0], entries: read.flatMap(({ entries }) => entries) }, 2)}\n`;
}

/** Splits an export into texts that are small enough to send. Throws `InvalidRequest` if a large text is not an export. */
export function splitExport(text: string, isMarkdown: boolean, maxChars = importChars): readonly string[] {
  if (text.length <= maxChars) return [text];
  const pieces = isMarkdown ? splitMarkdown(text, maxChars) : splitJson(text, maxChars);
  if (pieces.length === 0) throw notAnExport("the text contains no entries");
  return pieces;
}

function splitJson(text: string, maxChars: number): readonly string[] {
  let read: { readonly entries?: readonly unknown[] };
  try {
    read = parseJson(text) as typeof read;
  } catch (error) {
    throw notAnExport(`invalid JSON: ${messageOf(error)}`, error);
  }
  const { entries = [], ...rest } = read;
  const head = JSON.stringify({ ...rest, entries: [] }).slice(0, -"]}".length);
  const texts = Array.isArray(entries) ? entries.map((entry) => JSON.stringify(entry)) : [];
  return together(texts, maxChars).map((piece) => `${head}${piece.join(",")}]}`);
}

function splitMarkdown(text: string, maxChars: number): readonly string[] {
  const entries: string[] = [];
  let category = "";
  // Lines of values are quoted, so none begins like a heading.
  for (const block of text.split(/^(?=###? )/m)) {
    if (block.startsWith("### ")) entries.push(`${category}${block}`);
    else if (block.startsWith("## ")) category = block;
  }
  return together(entries, maxChars).map((piece) => piece.join(""));
}

const anExport = advice("import a file that `ollm memory export` wrote");

function notAnExport(message: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(message, { next: anExport, cause });
}

/** Groups texts in order, up to `maxChars` a group; a longer text is a group of its own. */
function together(texts: readonly string[], maxChars: number): readonly (readonly string[])[] {
  const pieces: string[][] = [];
  let left = 0;
  for (const text of texts) {
    if (text.length > left) {
      pieces.push([]);
      left = maxChars;
    }
    pieces.at(-1)?.push(text);
    left -= text.length;
  }
  return pieces;
}
