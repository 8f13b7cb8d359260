import { type Command, Option } from "commander";
import { resolve } from "node:path";
import { repeated, wholeNumber, withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";

const yesFlag = "-y, --yes";

interface CreateFlags extends JsonOption {
  readonly from: string;
  readonly system?: string;
  readonly parameter?: readonly string[];
  readonly adapter?: string;
  readonly yes?: boolean;
}

/** The commands over the models on this machine. */
export function addModels(program: Command, run: Run): void {
  program.commandsGroup("Models:");
  withExamples(
    withJson(
      program
        .command("models")
        .argument("[query]", "part of a name or family")
        .description("list the models on this machine: size, whether loaded, whether they fit")
        .option("-a, --all", "all of them, however many (default: the first 50)")
        .option("-v, --verbose", "also parameters, quantization, context window and speed"),
      "models[{name, engine, size_bytes, is_loaded, fits}], total, suggestion",
    ),
    [
      ["ollm models", "what is there"],
      ["ollm models qwen --verbose", "one family, with its details"],
    ],
  ).action((query: string | undefined, options: { all?: boolean; verbose?: boolean; json?: boolean }) =>
    run(async (io) => (await import("./shell/models.ts")).listModels(query, options, io)),
  );

  withExamples(
    withJson(
      program
        .command("pull")
        .argument("<name>", "as Ollama names it (smollm2:135m), or hf.co/<owner>/<repository>")
        .description("download a model; an interrupted download goes on where it stopped")
        .option("--engine <engine>", "ollama or llama-cpp (default: chosen)"),
      "name, engine, size_bytes, digest, already_present",
    ),
    [
      ["ollm pull smollm2:135m", "98 MB, to try things out"],
      ["ollm pull hf.co/unsloth/SmolLM2-135M-Instruct-GGUF", "from Hugging Face"],
    ],
  ).action((name: string, options: { engine?: string; json?: boolean }) =>
    run(async (io) => (await import("./shell/pull.ts")).pullModel(name, options, io)),
  );

  withExamples(
    withJson(
      program
        .command("import")
        .argument("<file>", "a GGUF file")
        .argument("<name>", "the name it gets: my-model, my-model:7b")
        .description("take a local GGUF file into the model store"),
      "name, engine, size_bytes, digest, already_present",
    ),
    [["ollm import ./model.gguf my-model", "from then on it is called my-model"]],
  ).action((file: string, name: string, options: JsonOption) =>
    run(async (io) =>
      (await import("./shell/pull.ts")).importModel(resolve(io.workingDirectory, file), name, options, io),
    ),
  );

  withExamples(
    withJson(
      program
        .command("create")
        .argument("<name>", "the name it gets: my-model, my-model:7b")
        .requiredOption("--from <model>", "an installed model, whose weights it shares")
        .description("make a model of another: with a system prompt, parameters, an adapter")
        .option("--system <text>", "its system prompt, in place of the other's")
        .option("--parameter <name=value>", "temperature=0.2, stop=END; may be given several times", repeated)
        .option("--adapter <file>", "a LoRA adapter as GGUF")
        .option(yesFlag, "replace a model of that name without asking"),
      "model, created{engine, size_bytes}",
    ),
    [
      [
        'ollm create poet --from smollm2:135m --system "You rhyme." --parameter temperature=1.2',
        "ollm run poet answers in rhymes",
      ],
    ],
  ).action((name: string, options: CreateFlags) =>
    run(async (io) => {
      const adapter = options.adapter === undefined ? {} : { adapter: resolve(io.workingDirectory, options.adapter) };
      return (await import("./shell/create.ts")).createModel(name, { ...options, ...adapter }, io);
    }),
  );

  withExamples(
    withJson(
      program
        .command("rm")
        .argument("<name...>", "models")
        .description("delete models from disk, after asking")
        .option(yesFlag, "delete without asking"),
      "deleted[{model, freed_bytes}]",
    ),
    [["ollm rm old-model other:7b", "asks for each"]],
  ).action((names: readonly string[], options: { yes?: boolean; json?: boolean }) =>
    run(async (io) => (await import("./shell/models.ts")).removeModels(names, options, io)),
  );

  withExamples(
    withJson(
      program.command("show").argument("<name>", "a model").description("say what is known of a model"),
      "model, details{engine, size_bytes, context_tokens, capabilities}",
    ),
    [["ollm show smollm2:135m", "size, context window, what it can do"]],
  ).action((name: string, options: JsonOption) =>
    run(async (io) => (await import("./shell/models.ts")).showModel(name, options, io)),
  );

  addMemory(program, run);
}

/** What holds memory, and what should. */
function addMemory(program: Command, run: Run): void {
  program.commandsGroup("Memory of the machine:");
  withExamples(
    withJson(
      program.command("ps").description("show which models are loaded, what they hold and until when"),
      "total_bytes, available_bytes, loaded_bytes, loaded[{name, engine, bytes}]",
    ),
    [["ollm ps", "loaded models, and how much RAM is free"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./shell/ps.ts")).listLoaded(options, io)));

  withExamples(
    withJson(
      program
        .command("load")
        .argument("<name>", "a model")
        .description("load a model, making room if need be")
        .option("--context-size <tokens>", "at least this much context", wholeNumber(1, 100_000_000))
        .option("--dry-run", "only say whether it fits and what would be unloaded")
        .option("--pin", "and pin it, as ollm pin does")
        .addOption(new Option("--keep", "the old name of --pin").hideHelp()),
      "model, engine, loaded, load_ms, plan",
    ),
    [
      ["ollm load qwen2.5-coder:7b --dry-run", "does it fit, and what would go?"],
      ["ollm load smollm2:135m --context-size 8192 --pin", "and keep it loaded"],
    ],
  ).action(
    (
      name: string,
      { keep, ...options }: { contextSize?: number; dryRun?: boolean; pin?: boolean; keep?: boolean; json?: boolean },
    ) =>
      run(async (io) =>
        (await import("./shell/ps.ts")).loadModel(name, { ...options, pin: options.pin === true || keep === true }, io),
      ),
  );

  withExamples(
    withJson(
      program
        .command("unload")
        .argument("[name]", "a model")
        .description("free the memory of a model")
        .option("--all", "of every model"),
      "action, unloaded[{name, bytes}]",
    ),
    [["ollm unload --all", "nothing stays loaded"]],
  ).action((name: string | undefined, options: { all?: boolean; json?: boolean }) =>
    run(async (io) => (await import("./shell/ps.ts")).unloadModels(name, options, io)),
  );

  for (const [action, oldName, description] of [
    ["pin", "keep", "keep a model loaded: neither other loads nor idle time unload it"],
    ["unpin", "release", "let a pinned model be unloaded again"],
  ] as const) {
    const pin = (name: string, options: JsonOption): Promise<void> =>
      run(async (io) => (await import("./shell/ps.ts")).pinModel(action, name, options, io));
    withExamples(
      withJson(program.command(action).argument("<name>", "a model").description(description), "action, model"),
      [[`ollm ${action} smollm2:135m`, description.split(":")[0] ?? ""]],
    ).action(pin);
    program.command(oldName, { hidden: true }).argument("<name>").option("--json").action(pin);
  }

  withExamples(
    withJson(
      program
        .command("decisions")
        .description("what was loaded, unloaded or refused since the daemon started, and why")
        .option("-n, --limit <number>", "only the newest so many", wholeNumber(1, 200)),
      "decisions[{at kind model engine steps[] needed_bytes free_bytes evicted[]}]",
    ),
    [["ollm decisions -n 5", "why the last models came and went"]],
  ).action((options: { limit?: number; json?: boolean }) =>
    run(async (io) => (await import("./shell/decisions.ts")).listDecisions(options, io)),
  );

  withExamples(
    withJson(
      program.command("status").description("memory, loaded models, engines, work under way and warnings"),
      "version, home, privacy, ram, loaded[], engines[], operations[], warnings[]",
    ),
    [["ollm status", "the state of it all"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./shell/status.ts")).status(options, io)));
}
