import { Option, type Command } from "commander";
import { numberBetween, repeated, wholeNumber, withExamples, withJson, type Run } from "./command-options.ts";
import type { ChatFlags } from "./terminal/chat.ts";
import type { RunFlags } from "./commands/run.ts";

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
          "text file, or git:staged and the like, to add to the prompt; repeatable",
          repeated,
        )
        .option("--image <path>", "image, for models with vision; repeatable", repeated)
        .option("-s, --system <text>", "system prompt")
        .addOption(
          new Option("--task <task>", "kind of task (default: guessed from the prompt)").choices([
            "code",
            "general",
            "creative",
            "fast",
            "vision",
          ]),
        )
        .option("--profile <name>", "fast, general, code or creative")
        .option(
          "-t, --template <name>",
          "prompt template; --file or piped input is its text, and the prompt follows it",
        )
        .option("--var <name=value>", "variable of the template; repeatable", repeated)
        .option("--format <format>", "json, or a file with a JSON Schema for the answer")
        .option("--max-tokens <number>", "limit of tokens of the answer", wholeNumber(1, 10_000_000))
        .option("--temperature <number>", "sampling temperature, 0 to 2", numberBetween(0, 2))
        .option("--context-size <tokens>", "minimum context window", wholeNumber(1, 100_000_000))
        .option("--think", "let the model think first if it can; thoughts are shown dim")
        .option("--no-memory", "don't add remembered facts to the prompt")
        .option("--explain", "show which models were considered, and timing")
        .addOption(new Option("--verbose", "Ollama's name of --explain").hideHelp().implies({ explain: true }))
        .option("-o, --output <file>", "write the answer to this file, overwriting it"),
      "text, model, reason, prompt_tokens, completion_tokens, tokens_per_second",
    ),
    [
      ['ollm run "Why is the sky blue?"', "use the best model that fits"],
      ['ollm run qwen3:4b-instruct "Why is the sky blue?"', "use this model"],
      ['cat notes.txt | ollm run "Summarise this"', "piped input"],
      ["ollm run --template commit-message --file git:staged", "also git:diff:REF, git:log:N, git:show:REF"],
      ['ollm run --file report.md "List the risks" -o risks.md', "from a file, to a file"],
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
    run(async (io) => (await import("./terminal/chat.ts")).chat(model, flags, io)),
  );
}
