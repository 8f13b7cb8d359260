import { type Command, Option } from "commander";
import { resolve } from "node:path";
import type { StatsFlags } from "./commands/stats.ts";
import { repeated, wholeNumber, withExamples, withJson, type JsonOption, type Run } from "./commands/options.ts";

const yesFlag = "-y, --yes";

interface CreateFlags extends JsonOption {
  readonly from: string;
  readonly system?: string;
  readonly parameter?: readonly string[];
  readonly adapter?: string;
  readonly yes?: boolean;
}

/** The commands that manage models. */
export function addModels(program: Command, run: Run): void {
  program.commandsGroup("Models:");
  withExamples(
    withJson(
      program
        .command("models")
        .aliases(["ls", "list"])
        .argument("[query]", "part of a name or family")
        .description("list models: size, whether loaded, whether they fit")
        .option("-a, --all", "list all (default: the first 50)")
        .option("-v, --verbose", "show parameters, quantization, context window and speed, too"),
      "models[{name, engine, size_bytes, is_loaded, fits}], total, suggestion",
    ),
    [
      ["ollm models", "all models"],
      ["ollm models qwen --verbose", "one family, with details"],
    ],
  ).action((query: string | undefined, options: { all?: boolean; verbose?: boolean; json?: boolean }) =>
    run(async (io) => (await import("./commands/models.ts")).listModels(query, options, io)),
  );

  withExamples(
    withJson(
      program
        .command("pull")
        .argument("<name>", "an Ollama name (smollm2:135m) or hf.co/<owner>/<repository>")
        .description("download a model; an interrupted download continues")
        .option("--engine <engine>", "ollama or llama-cpp (default: chosen)"),
      "name, engine, size_bytes, digest, already_present",
    ),
    [
      ["ollm pull smollm2:135m", "a small model"],
      ["ollm pull hf.co/unsloth/SmolLM2-135M-Instruct-GGUF", "from Hugging Face"],
    ],
  ).action((name: string, options: { engine?: string; json?: boolean }) =>
    run(async (io) => (await import("./commands/models.ts")).pullModel(name, options, io)),
  );

  withExamples(
    withJson(
      program
        .command("search")
        .argument("[words...]", "what to search for (default: everything)")
        .summary("print where to search for models")
        .description("print the addresses where models can be searched; opens and sends nothing"),
      "query, pages[{name, url}]",
    ),
    [["ollm search qwen coder", "then: ollm pull NAME"]],
  ).action((words: readonly string[], options: JsonOption) =>
    run(async (io) => (await import("./commands/models.ts")).search(words, options, io)),
  );

  withExamples(
    withJson(
      program
        .command("import")
        .argument("<file>", "a GGUF file")
        .argument("<name>", "its new name: my-model, my-model:7b")
        .description("add a local GGUF file to the model store"),
      "name, engine, size_bytes, digest, already_present",
    ),
    [["ollm import ./model.gguf my-model", "import it as my-model"]],
  ).action((file: string, name: string, options: JsonOption) =>
    run(async (io) =>
      (await import("./commands/models.ts")).importModel(resolve(io.workingDirectory, file), name, options, io),
    ),
  );

  withExamples(
    withJson(
      program
        .command("create")
        .argument("<name>", "its new name: my-model, my-model:7b")
        .requiredOption("--from <model>", "an installed model, whose weights are shared")
        .description("create a variant of a model")
        .option("--system <text>", "system prompt, replacing that of the base model")
        .option("--parameter <name=value>", "such as temperature=0.2 or stop=END; repeatable", repeated)
        .option("--adapter <file>", "LoRA adapter (GGUF)")
        .option(yesFlag, "replace a model of that name without asking"),
      "model, created{engine, size_bytes}",
    ),
    [['ollm create poet --from smollm2:135m --system "You rhyme." --parameter temperature=1.2', "then: ollm run poet"]],
  ).action((name: string, options: CreateFlags) =>
    run(async (io) => {
      const adapter = options.adapter === undefined ? {} : { adapter: resolve(io.workingDirectory, options.adapter) };
      return (await import("./commands/models.ts")).createModel(name, { ...options, ...adapter }, io);
    }),
  );

  addRemoval(program, run);
  addLoaded(program, run);
}

/** The commands that show models and delete them. */
function addRemoval(program: Command, run: Run): void {
  withExamples(
    withJson(
      program
        .command("rm")
        .argument("<model...>", "models")
        .description("delete models from disk (asks first)")
        .option(yesFlag, "delete without asking"),
      "deleted[{model, freed_bytes}]",
    ),
    [["ollm rm old-model other:7b", "asks for each model"]],
  ).action((names: readonly string[], options: { yes?: boolean; json?: boolean }) =>
    run(async (io) => (await import("./commands/models.ts")).removeModels(names, options, io)),
  );

  withExamples(
    withJson(
      program.command("show").argument("<model>", "a model").description("show details of a model"),
      "model, details{engine, size_bytes, context_tokens, capabilities}",
    ),
    [["ollm show smollm2:135m", "size, context window, capabilities"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/models.ts")).showModel(name, options, io)),
  );

  withExamples(
    withJson(
      program
        .command("tidy")
        .summary("delete models that were not used for a long time (asks first)")
        .description(
          "list models that were not used for 30 days, with the disk they take, and delete them (asks first); leaves those that are loaded, pinned or named in the settings",
        )
        .option("--days <number>", "not used for that many days", wholeNumber(1, 400), 30)
        .option(yesFlag, "delete without asking"),
      "unused[{name, engine, size_bytes, unused_days, last_used_at}], deleted[{model, freed_bytes}], kept[{model, error}], freed_bytes",
    ),
    [
      ["ollm tidy", "shows the list, and asks"],
      ["ollm tidy --days 90 --yes", "delete what was not used for 90 days"],
    ],
  ).action((options: { days: number; yes?: boolean; json?: boolean }) =>
    run(async (io) => (await import("./commands/models.ts")).tidyModels(options, io)),
  );
}

/** The commands for loaded models and memory. */
function addLoaded(program: Command, run: Run): void {
  program.commandsGroup("Loaded models:");
  withExamples(
    withJson(
      program.command("ps").description("list loaded models: memory, CPU or GPU, expiry"),
      "total_bytes, available_bytes, loaded_bytes, loaded[{name, engine, bytes, processor}]",
    ),
    [["ollm ps", "loaded models and free memory"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./commands/status.ts")).listLoaded(options, io)));

  withExamples(
    withJson(
      program
        .command("load")
        .argument("<model>", "a model")
        .description("load a model, unloading idle ones if necessary")
        .option("--context-size <tokens>", "minimum context window", wholeNumber(1, 100_000_000))
        .option("--dry-run", "only show whether it fits and what would be unloaded")
        .option("--pin", "pin it, as ollm pin does")
        .addOption(new Option("--keep", "the old name of --pin").hideHelp()),
      "model, engine, loaded, load_ms, plan",
    ),
    [
      ["ollm load qwen2.5-coder:7b --dry-run", "does it fit?"],
      ["ollm load smollm2:135m --context-size 8192 --pin", "load it and keep it loaded"],
    ],
  ).action(
    (
      name: string,
      { keep, ...options }: { contextSize?: number; dryRun?: boolean; pin?: boolean; keep?: boolean; json?: boolean },
    ) =>
      run(async (io) =>
        (await import("./commands/status.ts")).loadModel(
          name,
          { ...options, pin: options.pin === true || keep === true },
          io,
        ),
      ),
  );

  withExamples(
    withJson(
      program
        .command("unload")
        .argument("[model]", "a model")
        .description("unload a model and free its memory")
        .option("--all", "unload all models"),
      "action, unloaded[{name, bytes}]",
    ),
    [["ollm unload --all", "unload all models"]],
  ).action((name: string | undefined, options: { all?: boolean; json?: boolean }) =>
    run(async (io) => (await import("./commands/status.ts")).unloadModels(name, options, io)),
  );

  withExamples(
    withJson(
      program
        .command("stop")
        .argument("[model]", "a model to unload (default: the daemon)")
        .summary("unload a model, or stop the daemon (asks first)")
        .description("unload a model, as ollm unload does; without a model, stop the daemon (asks first)")
        .option(yesFlag, "stop the daemon without asking"),
      "action, unloaded[{name, bytes}]; of the daemon: running, pid",
    ),
    [
      ["ollm stop smollm2:135m", "free its memory"],
      ["ollm stop", "shows what it would interrupt, and asks"],
    ],
  ).action((name: string | undefined, options: { yes?: boolean; json?: boolean }) =>
    run(async (io) =>
      name === undefined
        ? (await import("./commands/daemon.ts")).daemonStopAsking(options, io)
        : (await import("./commands/status.ts")).unloadModels(name, options, io),
    ),
  );

  for (const [action, oldName, summary, description] of [
    ["pin", "keep", "pin a model in memory", "pin a model in memory: neither other loads nor idle time unload it"],
    ["unpin", "release", "unpin a model", "unpin a model, so that it can be unloaded again"],
  ] as const) {
    const pin = (name: string, options: JsonOption): Promise<void> =>
      run(async (io) => (await import("./commands/status.ts")).pinModel(action, name, options, io));
    withExamples(
      withJson(
        program.command(action).argument("<model>", "a model").summary(summary).description(description),
        "action, model",
      ),
      [[`ollm ${action} smollm2:135m`, summary]],
    ).action(pin);
    program.command(oldName, { hidden: true }).argument("<model>").option("--json").action(pin);
  }

  withExamples(
    withJson(
      program
        .command("decisions")
        .summary("show the log of load and unload decisions")
        .description("show what was loaded, unloaded or refused since the daemon started, and why")
        .option("-n, --limit <number>", "only the newest N", wholeNumber(1, 200)),
      "decisions[{at kind model engine steps[] needed_bytes free_bytes evicted[]}]",
    ),
    [["ollm decisions -n 5", "the last five decisions"]],
  ).action((options: { limit?: number; json?: boolean }) =>
    run(async (io) => (await import("./commands/status.ts")).listDecisions(options, io)),
  );

  addStats(program, run);
  withExamples(
    withJson(
      program.command("status").description("show memory, models, engines, jobs and warnings"),
      "version, home, privacy, ram, loaded[], engines[], operations[], warnings[]",
    ),
    [["ollm status", "the current state"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./commands/status.ts")).status(options, io)));
}

function addStats(program: Command, run: Run): void {
  withExamples(
    withJson(
      program
        .command("stats")
        .summary("show what was done and what it saved")
        .description("show requests, times, tokens and memory over time, and with --money what local models saved")
        .addOption(
          new Option("--by <name>", "one table: model, client, task, day, profile or engine")
            .choices(["model", "client", "task", "day", "profile", "engine"])
            .conflicts(["money", "csv"]),
        )
        .option("--money", "what was saved: today, this month and in all, by task and client, with the formula")
        .addOption(new Option("--csv", "print the rows of --money as CSV").conflicts("json")),
      "since, total, by, memory[], evictions[], advice[]; with --money: total, currency, formula, rows[{day, task, client, kind, tokens, price_per_million, amount}]",
    ),
    [
      ["ollm stats --by task", "figures of each kind of task"],
      ["ollm stats --money", "what was saved, and how it is computed"],
      ["ollm stats --money --csv", "every row, for a spreadsheet"],
    ],
  ).action((options: StatsFlags) => run(async (io) => (await import("./commands/stats.ts")).stats(options, io)));
}
