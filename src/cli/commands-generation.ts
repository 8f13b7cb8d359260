import { Argument, type Command, Option } from "commander";
import { version } from "../ipc/version.ts";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { taskNames, tasks } from "../orchestrator/api/types.ts";
import { nearestNames } from "../orchestrator/util/nearest.ts";
import {
  type JsonOption,
  type Run,
  commandNamed,
  numberBetween,
  repeated,
  wholeNumber,
  withExamples,
  withJson,
} from "./commands/options.ts";
import type { CompareFlags, WinnersFlags } from "./commands/compare.ts";
import type { RateFlags } from "./commands/rate.ts";
import type { Shell } from "./commands/completion.ts";
import type { RunFlags } from "./commands/run.ts";
import type { ChatFlags } from "./commands/chat.ts";

/** `ollm run` and `ollm chat`. */
export function addGeneration(program: Command, run: Run): void {
  program.commandsGroup("Ask:");
  withExamples(
    withJson(
      program
        .command("run")
        .argument("[model]", "a model; a first word that names none belongs to the prompt")
        .argument("[prompt...]", "the prompt; piped input is put before it")
        .description("ask a model once and print the answer as it arrives")
        .option("-m, --model <model>", "model to use (default: the best that fits)")
        .option(
          "-f, --file <path>",
          "text files, or git:staged and the like, to add to the prompt; repeatable",
          repeated,
        )
        .option("--image <path>", "images, for models with vision; repeatable", repeated)
        .option("-s, --system <text>", "system prompt")
        .addOption(
          new Option("--task <task>", "kind of task (default: guessed from the prompt)").choices(
            taskNames.filter((task) => task !== "embedding"),
          ),
        )
        .option("--profile <profile>", "a name from ollm profiles: vision, swarm, code, ...")
        .option(
          "-t, --template <name>",
          "prompt template; --file or piped input is its text, and the prompt follows it",
        )
        .option("--var <name=value>", "variable of the template; repeatable", repeated)
        .option("--format <format>", "json, or a JSON Schema for the answer, or a file with one")
        .option("--max-tokens <number>", "limit of tokens of the answer", wholeNumber(1, 10_000_000))
        .option("--temperature <number>", "sampling temperature, 0 to 2", numberBetween(0, 2))
        .option("--context-size <tokens>", "minimum context window", wholeNumber(1, 100_000_000))
        .option("--think", "let the model think first if it can; thoughts are shown dim")
        .addOption(
          new Option(
            "--check <check>",
            "quotes: each statement needs a quote from the files; agree: the majority of 3 short answers",
          ).choices(["none", "quotes", "agree"]),
        )
        .addOption(
          new Option(
            "--split <split>",
            "auto: read a long text in parts (the default for --file); none: refuse it",
          ).choices(["auto", "none"]),
        )
        .option("--no-memory", "don't add remembered facts to the prompt")
        .option("--explain", "show which models were considered, and timing")
        .option("--dry-run", "only say which model would answer, and rank the others")
        .addOption(new Option("--verbose", "Ollama's name of --explain").hideHelp().implies({ explain: true }))
        .option("-o, --output <file>", "write the answer to this file, overwriting it"),
      "text, model, reason, prompt_tokens, completion_tokens, tokens_per_second, check{passed problem verified total}, parts{total read missing}",
    ),
    [
      ['ollm run "Why is the sky blue?"', "use the best model that fits"],
      ['ollm run qwen3:4b-instruct "Why is the sky blue?"', "use this model"],
      ['cat notes.txt | ollm run "Summarise this"', "piped input"],
      ["ollm run --template commit-message --file git:staged", "also git:diff:REF, git:log:N, git:show:REF"],
      ['ollm run --file report.md "List the risks" -o risks.md', "from a file, to a file"],
      ['ollm run --file report.md --check quotes "List the risks"', "with each quote looked for in the file"],
      ["git diff --staged | ollm run --template commit-message", "use a template"],
      ["ollm run smollm2:135m", "without a prompt: chat with the model"],
    ],
  ).action((model: string | undefined, prompt: readonly string[], flags: RunFlags) =>
    run(async (io) =>
      (await import("./commands/run.ts")).run(model === undefined ? [] : [model, ...prompt], flags, io),
    ),
  );

  withExamples(
    program
      .command("chat")
      .argument("[model]", "model to use (default: the best that fits)")
      .description("chat with a model; /help lists its commands")
      .option("-s, --system <text>", "system prompt")
      .option("--max-tokens <number>", "limit of tokens per answer", wholeNumber(1, 10_000_000))
      .option("--no-memory", "don't add remembered facts to the prompt"),
    [
      ["ollm chat", "Ctrl-C stops an answer, twice exits"],
      ["ollm chat smollm2:135m < questions.txt", "one question per line"],
    ],
  ).action((model: string | undefined, flags: ChatFlags) =>
    run(async (io) => (await import("./commands/chat.ts")).chat(model, flags, io)),
  );
}

/** `ollm compare` and `ollm winners`, in the group of the commands that ask models. */
export function addCompare(program: Command, run: Run): void {
  withExamples(
    withJson(
      program
        .command("compare")
        .argument("<prompt>", "the prompt; piped input is put before it; may be last, if quoted")
        .argument("[models...]", "two to five models (default: the three that routing ranks highest)")
        .description("ask several models the same and pick the best answer")
        .option(
          "-f, --file <path>",
          "text files, or git:staged and the like, to add to the prompt; repeatable",
          repeated,
        )
        .option("-s, --system <text>", "system prompt")
        .option("--judge <model>", "local model that ranks the answers blind (auto: the largest that is not compared)")
        .option("--runs <n>", "ask each model N times and show medians", wholeNumber(1, 9))
        .option("--max-tokens <number>", "limit of tokens per answer", wholeNumber(1, 10_000_000)),
      "id, prompt, task, results[{model text tokens_per_second first_token_ms total_ms load_ms memory_bytes error}], order, judgement",
    ),
    [
      ['ollm compare "Explain recursion" qwen3:4b-instruct granite4.1:8b', "compare two models"],
      ['ollm compare "Summarise this" --file notes.txt --judge auto', "models chosen by routing, ranked by a judge"],
      ['ollm compare "Why?" smollm2:135m qwen3:4b-instruct --runs 3 --json', "medians of three runs, as JSON"],
    ],
  ).action((prompt: string, models: readonly string[], flags: CompareFlags) =>
    run(async (io) => (await import("./commands/compare.ts")).compare(prompt, models, flags, io)),
  );

  withExamples(
    withJson(
      program
        .command("winners")
        .summary("show, add or undo the models that you picked")
        .description("show, add or undo the models that you picked; routing prefers them for their kind of task")
        .option("--pick <model>", "pick this model")
        .option("--comparison <id>", "with --pick: the comparison (default: the newest)")
        .addOption(
          new Option(
            "--task <task>",
            "with --pick and --undo: the kind of task; with --pick alone, no comparison is needed (default: that of the comparison, or of the newest pick)",
          ).choices(tasks),
        )
        .option("--undo", "undo the newest pick and restore the one before"),
      "preferences[{task model comparison_id picked_at}]",
    ),
    [
      ["ollm winners", "the picks in effect"],
      ["ollm winners --pick qwen2.5-coder:7b --task code", "pick a model without a comparison"],
      ["ollm winners --undo --task code", "undo the newest pick for code"],
    ],
  ).action((flags: WinnersFlags) => run(async (io) => (await import("./commands/compare.ts")).winners(flags, io)));

  for (const rating of ["good", "bad"] as const) {
    withExamples(
      withJson(
        program
          .command(rating)
          .summary(`rate the last answer as ${rating}`)
          .description(
            `rate the last answer of this shell as ${rating}; routing learns which models answer a task well`,
          )
          .addOption(new Option("--task <task>", "kind of task (default: that of the answer)").choices(tasks))
          .option("--model <model>", "model that answered (default: that of the answer); with --task, of any answer"),
        "rated, task",
      ),
      [
        [`ollm ${rating}`, "the last answer; a second rating replaces the first"],
        [`ollm ${rating} --task code --model qwen2.5-coder:7b`, "any other answer"],
      ],
    ).action((flags: RateFlags) => run(async (io) => (await import("./commands/rate.ts")).rate(rating, flags, io)));
  }
}

/** Commands of similar programs that ollm lacks, with what to do instead. */
const absent: Readonly<Record<string, string>> = {
  ask: 'ask a model: ollm run "Why is the sky blue?"',
  cp: "copy a model under another name: ollm create NEW --from OLD",
  delete: "delete a model: ollm rm NAME",
  download: "download a model: ollm pull NAME",
  info: "show a model: ollm show NAME",
  install: "download a model: ollm pull NAME; add ollm to your assistants: ollm setup",
  launch: "add ollm to your assistants: ollm setup",
  login: "no account is needed: models run on this machine",
  logout: "no account is needed: models run on this machine",
  push: "upload a model with its registry's own program: ollm only downloads",
  remove: "delete a model: ollm rm NAME",
  signin: "no account is needed: models run on this machine",
  signout: "no account is needed: models run on this machine",
  start: "commands start the daemon when they need it; to start it ahead of use: ollm daemon start",
  update: "get a model's newest version: ollm pull NAME; ollm itself is updated as it was installed, with git or npm",
  upgrade: "get a model's newest version: ollm pull NAME; ollm itself is updated as it was installed, with git or npm",
};

/** Commands that people know from other programs; all but `completion` are left out of the lists of commands. */
export function addHabits(program: Command, run: Run): void {
  addCompletion(program, run);
  program
    .command("help", { hidden: true })
    .description("show the help of a command")
    .argument("[command...]", "a command")
    .action((names: readonly string[]) => commandAt(program, names).outputHelp());
  withJson(program.command("version", { hidden: true }).description("print the version"), "version").action(
    (options: JsonOption) =>
      run((io) => {
        io.stdout(options.json === true ? `${JSON.stringify({ version })}\n` : `${version}\n`);
        return Promise.resolve(0);
      }),
  );
  for (const [name, instead] of Object.entries(absent)) {
    program
      .command(name, { hidden: true })
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .action(() => {
        throw new InvalidRequest(`ollm has no command ${name}`, { next: advice(instead) });
      });
  }
}

/** The command at a path: `config set`. An unknown name is wrong usage of the command before it. */
function commandAt(program: Command, names: readonly string[]): Command {
  return names.reduce((parent, name) => {
    const found = commandNamed(parent, name);
    if (found !== undefined) return found;
    const known = parent.createHelp().visibleCommands(parent);
    const [close] = nearestNames(
      name,
      known.map((each) => each.name()),
      1,
    );
    const suggestion = close === undefined ? "" : `\n(Did you mean ${close}?)`;
    return parent.error(`error: unknown command '${name}'${suggestion}`);
  }, program);
}

function addCompletion(program: Command, run: Run): void {
  const completion = program
    .command("completion")
    .helpGroup("Set up:")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish", "powershell"]))
    .summary("print a script that completes commands with Tab")
    .description("print a script that completes commands, options and model names with Tab")
    .action((shell: Shell) => run(async (io) => (await import("./commands/completion.ts")).completion(shell, io)));
  withExamples(completion, [
    [`echo 'eval "$(ollm completion bash)"' >> ~/.bashrc`, "install it for bash; works in new terminals"],
    [`echo 'eval "$(ollm completion zsh)"' >> ~/.zshrc`, "install it for zsh; works in new terminals"],
    ["ollm completion fish > ~/.config/fish/completions/ollm.fish", "install it for fish; works in new terminals"],
    [
      "Add-Content $PROFILE 'ollm completion powershell | Out-String | iex'",
      "install it for PowerShell; works in new terminals",
    ],
  ]);
}
