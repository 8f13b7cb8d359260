import { Option, type Command } from "commander";
import { repeated, wholeNumber, withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";
import type { AddFlags } from "./commands/memory.ts";

const entryShape = "key, value, category, scope, tags, pinned, source, updated_at";
const categories: readonly NonNullable<AddFlags["category"]>[] = ["fact", "preference", "context"];

/** `ollm memory`: facts and preferences kept across sessions. */
export function addMemory(program: Command, run: Run): void {
  program.commandsGroup("Context:");
  const memory = program
    .command("memory")
    .description("manage facts and preferences kept across sessions")
    .helpCommand(false);
  withExamples(memory, [
    ['ollm memory add deploy "make ship, region fra"', "save a fact"],
    ["ollm memory search deploy", "find it"],
  ]);

  withExamples(
    withJson(memory.command("list").description("list the entries, newest first"), `entries[{${entryShape}}], total`),
    [["ollm memory list", "keys and values"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./commands/memory.ts")).listMemory(options, io)));

  withExamples(
    withJson(
      memory
        .command("search")
        .argument("<words...>", "what to look for")
        .description("search by words, and by meaning if an embedding model is installed")
        .addOption(new Option("--category <category>", "only this category").choices(categories))
        .option("--limit <number>", "limit of results (default: 10)", wholeNumber(1, 100)),
      "entries[{key, value, updated_at}], total, method",
    ),
    [["ollm memory search database port", "typing errors are tolerated"]],
  ).action((words: readonly string[], options: JsonOption & Pick<AddFlags, "category"> & { limit?: number }) =>
    run(async (io) => (await import("./commands/memory.ts")).searchMemory(words, options, io)),
  );

  withExamples(
    withJson(
      memory.command("show").argument("<key>", "a key from ollm memory list").description("show one entry in full"),
      entryShape,
    ),
    [["ollm memory show deploy", "its value and details"]],
  ).action((key: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/memory.ts")).showMemory(key, options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("add")
        .argument("<key>", "the key; an existing one gets the new value")
        .argument("<value...>", "the value")
        .description("save a fact or preference")
        .addOption(new Option("--category <category>", "category (default: fact)").choices(categories))
        .option("--project", "for the project of this folder only")
        .option("--tag <tag>", "tag; repeatable", repeated)
        .option("--pin", "add it to every prompt")
        .option("--ttl <seconds>", "forget it after this time; 0: never", wholeNumber(0, 4_000_000_000))
        .option("--force", "save it even if it looks like a secret"),
      "key, replaced, expires_at, similar[]",
    ),
    [
      ['ollm memory add deploy "make ship, region fra"', "save a fact"],
      ["ollm memory add tone --category preference short and dry", "save a preference"],
    ],
  ).action((key: string, words: readonly string[], options: AddFlags) =>
    run(async (io) => (await import("./commands/memory.ts")).addMemory(key, words, options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("forget")
        .argument("[keys...]", "a key from ollm memory list")
        .description("delete an entry; asks first for several or all")
        .option("--all", "all entries")
        .option("-y, --yes", "don't ask"),
      "forgotten[], total",
    ),
    [["ollm memory forget deploy", "delete one entry"]],
  ).action((keys: readonly string[], options: JsonOption & { all?: boolean; yes?: boolean }) =>
    run(async (io) => (await import("./commands/memory.ts")).forgetMemory(keys, options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("export")
        .description("print all entries, including those of all projects")
        .option("--markdown", "as Markdown (default: JSON)"),
      "all entries, as import reads them",
    ),
    [["ollm memory export > memory.json", "a backup"]],
  ).action((options: JsonOption & { markdown?: boolean }) =>
    run(async (io) => (await import("./commands/memory.ts")).exportMemory(options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("import")
        .argument("[file]", "an export (default: piped input)")
        .description("import an export; existing keys are overwritten")
        .option("--markdown", "read Markdown (default: by the file's extension)")
        .option("--force", "import entries that look like secrets, too"),
      "imported, refused[]",
    ),
    [["ollm memory import memory.json", "restore a backup"]],
  ).action((file: string | undefined, options: JsonOption & { markdown?: boolean; force?: boolean }) =>
    run(async (io) => (await import("./commands/memory.ts")).importMemory(file, options, io)),
  );
}
