import { type Command, Option } from "commander";
import { tasks } from "../orchestrator/api/types.ts";
import { type JsonOption, type Run, repeated, wholeNumber, withExamples, withJson } from "./commands/options.ts";
import type { AddFlags } from "./commands/memory.ts";
import type { ResetFlags } from "./commands/profiles.ts";
import type { CreateFlags } from "./commands/template.ts";

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

const shape = "folder, kind, evidence, file, profile, model, system_prompt, default_profile, is_trusted, notes";

/** `ollm project`: per-project settings. */
export function addProject(program: Command, run: Run): void {
  const project = program
    .command("project")
    .description("show or set per-project settings (.ollm/project.yaml)")
    .helpCommand(false);
  withExamples(project, [
    ["ollm project show", "the settings for this folder"],
    ["ollm project init", "create .ollm/project.yaml for the detected kind"],
    ["ollm project trust", "approve the settings of a cloned project"],
  ]);
  withExamples(
    withJson(
      project
        .command("detect")
        .argument("[folder]", "the project (default: this folder)")
        .description("detect the kind of a project, and explain why"),
      "folder, kind, evidence",
    ),
    [
      ["ollm project detect", "for this folder"],
      ["ollm project detect ../site --json", "for another folder, as JSON"],
    ],
  ).action((folder: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/project.ts")).detectProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("show")
        .argument("[folder]", "the project (default: the one that contains this folder)")
        .description("show a project's settings, and which of them are not used"),
      shape,
    ),
    [["ollm project show", "for the project that contains this folder"]],
  ).action((folder: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/project.ts")).showProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("use")
        .argument("<profile>", "a name from ollm profiles: typescript, python, rust, code, ...")
        .description("create .ollm/project.yaml with this profile; never overwrites"),
      shape,
    ),
    [["ollm project use python", "use the Python profile in this folder"]],
  ).action((profile: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/project.ts")).initProject(undefined, { ...options, profile }, io)),
  );
  withExamples(
    withJson(
      project
        .command("init")
        .argument("[folder]", "the project (default: this folder)")
        .description("create .ollm/project.yaml for the detected kind; never overwrites")
        .option("--profile <profile>", "a profile, in place of the detected kind"),
      shape,
    ),
    [
      ["ollm project init", "for the detected kind"],
      ["ollm project init --profile code", "with this profile"],
    ],
  ).action((folder: string | undefined, options: JsonOption & { readonly profile?: string }) =>
    run(async (io) => (await import("./commands/project.ts")).initProject(folder, options, io)),
  );
  withExamples(
    withJson(
      project
        .command("trust")
        .argument("[folder]", "the project (default: the one that contains this folder)")
        .description("approve the project's model, system prompt and templates until they change")
        .option("-y, --yes", "print and approve them without asking"),
      shape,
    ),
    [
      ["ollm project trust", "show them and ask"],
      ["ollm project trust --yes", "approve without asking"],
    ],
  ).action((folder: string | undefined, options: JsonOption & { readonly yes?: boolean }) =>
    run(async (io) => (await import("./commands/project.ts")).trustProject(folder, options, io)),
  );
}

/** `ollm profiles`. */
export function addProfiles(program: Command, run: Run): void {
  const values =
    "name, description, models, families, needs, min_context_tokens, temperature, top_p, max_tokens, system, fallback, max_latency_ms, min_success_rate, templates, builds_on, matches";
  const profiles = withJson(
    program
      .command("profiles")
      .description("list profiles: the agents and kinds of work that a request can name")
      .helpCommand(false),
    `profiles[{${values}}]`,
  ).action((options: JsonOption) =>
    run(async (io) => (await import("./commands/profiles.ts")).listProfiles(options, io)),
  );
  withExamples(profiles, [
    ["ollm profiles", "built-in ones, and those of the settings and the project"],
    ["ollm profiles show vision", "its values, and which model would answer"],
    ["ollm config set profiles.legal.temperature 0.1", "add a profile, or change one"],
  ]);
  withExamples(
    withJson(
      profiles
        .command("show")
        .argument("<profile>", "a name from ollm profiles")
        .description("show a profile's values, where each comes from, and which installed model would answer now"),
      `${values}, sources, answers{model, engine, reason}, unavailable, learned[{task, model, answers, score}]`,
    ),
    [["ollm profiles show code", "for the project of this folder"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/profiles.ts")).showProfile(name, options, io)),
  );
  withExamples(
    withJson(
      profiles
        .command("reset")
        .description("forget what was learned about the answers of models; picks stay (ollm winners --undo)")
        .addOption(new Option("--task <task>", "only for this kind of task").choices(tasks))
        .option("--model <model>", "only about this model")
        .option("-y, --yes", "don't ask"),
      "action, preferences[{task model comparison_id picked_at}]",
    ),
    [
      ["ollm profiles reset", "all of it; asks first"],
      ["ollm profiles reset --task code --model qwen2.5-coder:7b", "one model for one kind of task"],
    ],
  ).action((options: ResetFlags) =>
    run(async (io) => (await import("./commands/profiles.ts")).resetLearned(options, io)),
  );
}

/** `ollm template`. */
export function addTemplates(program: Command, run: Run): void {
  program.commandsGroup("Context:");
  const template = program.command("template").description("manage prompts with variables").helpCommand(false);
  withExamples(template, [
    ["ollm template list", "all templates"],
    ["ollm template render commit-message --file git:staged --generate", "send one to a model"],
  ]);

  withExamples(
    withJson(
      template
        .command("list")
        .argument("[query]", "words of the name or description")
        .description("list templates and their variables; ? marks optional ones"),
      "templates[{name, description, variables, source, hides}], problems",
    ),
    [["ollm template list", "all templates"]],
  ).action((query: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/template.ts")).listTemplates(query, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("show")
        .argument("<name>", "a name from ollm template list")
        .description("show the text, variables and options of a template"),
      "name, description, template, variables, system, model, profile, options, format, source, file, hides",
    ),
    [["ollm template show summary", "its text and its variables"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/template.ts")).showTemplate(name, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("render")
        .argument("<name>", "a name from ollm template list")
        .description("fill in a template and print it; piped input is its text, or its one missing variable")
        .option("--var <name=value>", "variable; repeatable", repeated)
        .option("-f, --file <path>", "file, or git:staged and the like, to use like piped input; repeatable", repeated)
        .option("--generate", "send it to a model and print the answer"),
      "text, system, model, finish_reason",
    ),
    [
      ["ollm template render translate --var language=French --var text=Hello", "print the prompt"],
      ["ollm template render commit-message --file git:staged --generate", "print a model's answer"],
      ["ollm template render summary --file report.md --generate", "use a file"],
    ],
  ).action(
    (name: string, options: JsonOption & { var?: readonly string[]; file?: readonly string[]; generate?: boolean }) =>
      run(async (io) => (await import("./commands/template.ts")).renderTemplate(name, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("create")
        .argument("<name>", "letters, digits, - and _")
        .argument("[text]", "the text, with {variables} and {variables:default}")
        .description("save a template as a YAML file")
        .option("-f, --file <path>", "read the text from this file")
        .option("-d, --description <text>", "description")
        .option("-s, --system <text>", "system prompt")
        .option("--model <model>", "model to use")
        .option("--profile <profile>", "a name from ollm profiles, in place of a model")
        .option("--project", "save it in the project of this folder")
        .option("--overwrite", "replace a template of that name"),
      "name, file, variables, hides, note",
    ),
    [
      ['ollm template create haiku "Write a haiku about {topic}."', "with the variable {topic}"],
      ["ollm template create letter --file letter.txt", "from a file"],
    ],
  ).action((name: string, text: string | undefined, options: CreateFlags) =>
    run(async (io) => (await import("./commands/template.ts")).createTemplate(name, text, options, io)),
  );

  withExamples(
    withJson(
      template
        .command("edit-path")
        .argument("<name>", "a name from ollm template list")
        .description("print the path of its file; a built-in template is copied first"),
      "name, file",
    ),
    [['code "$(ollm template edit-path summary)"', "edit it; changes apply once saved"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/template.ts")).templatePath(name, options, io)),
  );
}
