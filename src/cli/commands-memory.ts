import { Option, type Command } from "commander";
import { repeated, wholeNumber, withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";
import type { AddFlags } from "./shell/memory.ts";

const entryShape = "key, value, category, scope, tags, pinned, source, updated_at";
const categories: readonly NonNullable<AddFlags["category"]>[] = ["fact", "preference", "context"];

/** `ollm memory ...`: what is remembered over sessions. */
export function addMemory(program: Command, run: Run): void {
  program.commandsGroup("Keep:");
  const memory = program
    .command("memory")
    .description("what is remembered over sessions: facts, preferences, context")
    .helpCommand(false);
  withExamples(memory, [
    ['ollm memory add deploy "make ship, region fra"', "remember it"],
    ["ollm memory search deploy", "find it again"],
  ]);

  withExamples(
    withJson(memory.command("list").description("list it, newest first"), `entries[{${entryShape}}], total`),
    [["ollm memory list", "keys and values"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./shell/memory.ts")).listMemory(options, io)));

  withExamples(
    withJson(
      memory
        .command("search")
        .argument("<words...>", "what it is about")
        .description("find by words, and by meaning where an embedding model is installed")
        .addOption(new Option("--category <category>", "only these").choices(categories))
        .option("--limit <number>", "at most so many (default: 10)", wholeNumber(1, 100)),
      "entries[{key, value, updated_at}], total, method",
    ),
    [["ollm memory search database port", "typing errors are forgiven"]],
  ).action((words: readonly string[], options: JsonOption & Pick<AddFlags, "category"> & { limit?: number }) =>
    run(async (io) => (await import("./shell/memory.ts")).searchMemory(words, options, io)),
  );

  withExamples(
    withJson(memory.command("show").argument("<key>", "as in list").description("show one entry whole"), entryShape),
    [["ollm memory show deploy", "its value, and what is known of it"]],
  ).action((key: string, options: JsonOption) =>
    run(async (io) => (await import("./shell/memory.ts")).showMemory(key, options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("add")
        .argument("<key>", "a few words; one that is there gets the new value")
        .argument("<value...>", "what to remember")
        .description("remember something")
        .addOption(new Option("--category <category>", "what it is (default: fact)").choices(categories))
        .option("--project", "only for the project of this folder")
        .option("--tag <tag>", "a word to find it by; repeatable", repeated)
        .option("--pin", "put it into every prompt")
        .option("--ttl <seconds>", "forget it after so long; 0 for never", wholeNumber(0, 4_000_000_000))
        .option("--force", "keep it though it looks like a secret"),
      "key, replaced, expires_at, similar[]",
    ),
    [
      ['ollm memory add deploy "make ship, region fra"', "a fact"],
      ["ollm memory add tone --category preference short and dry", "goes into every prompt"],
    ],
  ).action((key: string, words: readonly string[], options: AddFlags) =>
    run(async (io) => (await import("./shell/memory.ts")).addMemory(key, words, options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("forget")
        .argument("[keys...]", "as in list")
        .description("forget what is under a key; several, or all, after asking")
        .option("--all", "everything that is remembered")
        .option("-y, --yes", "without asking"),
      "forgotten[], total",
    ),
    [["ollm memory forget deploy", "one"]],
  ).action((keys: readonly string[], options: JsonOption & { all?: boolean; yes?: boolean }) =>
    run(async (io) => (await import("./shell/memory.ts")).forgetMemory(keys, options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("export")
        .description("print every entry, those of all projects too")
        .option("--markdown", "as Markdown, for people (default: JSON)"),
      "all entries, as import takes them",
    ),
    [["ollm memory export > memory.json", "a backup"]],
  ).action((options: JsonOption & { markdown?: boolean }) =>
    run(async (io) => (await import("./shell/memory.ts")).exportMemory(options, io)),
  );

  withExamples(
    withJson(
      memory
        .command("import")
        .argument("[file]", "what export wrote; without one, what is piped in")
        .description("take in what export wrote; keys that are there get its values")
        .option("--markdown", "it is Markdown (default: by the file's ending)")
        .option("--force", "take what looks like a secret too"),
      "imported, refused[]",
    ),
    [["ollm memory import memory.json", "a backup, back in"]],
  ).action((file: string | undefined, options: JsonOption & { markdown?: boolean; force?: boolean }) =>
    run(async (io) => (await import("./shell/memory.ts")).importMemory(file, options, io)),
  );
}
