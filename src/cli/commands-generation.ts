import { Option, type Command } from "commander";
import { numberBetween, repeated, wholeNumber, withExamples, withJson, type Run } from "./command-options.ts";
import type { ChatFlags } from "./shell/chat.ts";
import type { RunFlags } from "./shell/run.ts";

/** The commands that ask models. */
export function addGeneration(program: Command, run: Run): void {
  program.commandsGroup("Ask:");
  withExamples(
    withJson(
      program
        .command("run")
        .argument(
          "[words...]",
          "a model, if the first word names one, and the prompt; what is piped in stands before it",
        )
        .description("ask a model once; the answer is printed as it comes")
        .option("-m, --model <name>", "the model that answers (default: the best that fits)")
        .option("-f, --file <path>", "a text file to read for the model; repeatable", repeated)
        .option("--image <path>", "an image, for models that see; repeatable", repeated)
        .option("-s, --system <text>", "the system prompt")
        .addOption(
          new Option("--task <task>", "what kind of work it is (default: guessed)").choices([
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
          "a template; --file or what is piped in is its text, the prompt stands behind it",
        )
        .option("--var <name=value>", "a variable of the template; repeatable", repeated)
        .option("--format <format>", "json, or the file of a JSON Schema that the answer must match")
        .option("--max-tokens <number>", "most tokens of the answer", wholeNumber(1, 10_000_000))
        .option("--temperature <number>", "sampling temperature, 0 to 2", numberBetween(0, 2))
        .option("--context-size <tokens>", "at least this much context", wholeNumber(1, 100_000_000))
        .option("--think", "let it think first, where the model can; shown dim")
        .option("--no-memory", "leave out what is remembered")
        .option("--explain", "say what was considered, and how long it took")
        .option("-o, --output <file>", "write the answer to this file, replacing it"),
      "text, model, reason, prompt_tokens, completion_tokens, tokens_per_second",
    ),
    [
      ['ollm run "Why is the sky blue?"', "the best model that fits answers"],
      ['ollm run qwen2.5:7b "Why is the sky blue?"', "this model answers"],
      ['cat notes.txt | ollm run "Summarise this"', "what is piped in is the input"],
      ['ollm run --file report.md "List the risks" -o risks.md', "a file in, a file out"],
      ["git diff --staged | ollm run --template commit-message", "with a template"],
      ["ollm run smollm2:135m", "a model alone: a chat with it"],
    ],
  ).action((words: readonly string[], flags: RunFlags) =>
    run(async (io) => (await import("./shell/run.ts")).run(words, flags, io)),
  );

  withExamples(
    program
      .command("chat")
      .argument("[model]", "the model that answers (default: the best that fits)")
      .description("talk with a model; /help lists what else it can do")
      .option("-s, --system <text>", "the system prompt")
      .option("--max-tokens <number>", "most tokens of each answer", wholeNumber(1, 10_000_000))
      .option("--no-memory", "leave out what is remembered"),
    [
      ["ollm chat", "Ctrl-C ends an answer, twice leaves"],
      ["ollm chat smollm2:135m < questions.txt", "one question a line, one answer each"],
    ],
  ).action((model: string | undefined, flags: ChatFlags) =>
    run(async (io) => (await import("./shell/chat.ts")).chat(model, flags, io)),
  );
}
