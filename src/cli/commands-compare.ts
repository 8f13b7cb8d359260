import { Option, type Command } from "commander";
import { repeated, wholeNumber, withExamples, withJson, type Run } from "./command-options.ts";
import type { CompareFlags } from "./shell/compare.ts";
import type { WinnersFlags } from "./shell/winners.ts";

/** The commands that compare models; they stand with those that ask them. */
export function addCompare(program: Command, run: Run): void {
  withExamples(
    withJson(
      program
        .command("compare")
        .argument("<prompt>", "what all of them are asked; what is piped in stands before it")
        .argument("[models...]", "two to five models (default: up to three that routing ranks first)")
        .description("ask models the same, side by side, and pick the one that did best")
        .option("-f, --file <path>", "a text file to read for the models; repeatable", repeated)
        .option("-s, --system <text>", "the system prompt")
        .option("--judge <model>", "have a local model rank the answers blind (auto: the largest that isn't compared)")
        .option("--runs <number>", "ask each so often, and show medians", wholeNumber(1, 9))
        .option("--max-tokens <number>", "most tokens of each answer", wholeNumber(1, 10_000_000)),
      "id, prompt, task, results[{model text tokens_per_second first_token_ms total_ms load_ms memory_bytes error}], order, judgement",
    ),
    [
      ['ollm compare "Explain recursion" llama3.2:3b qwen2.5:7b', "answers, speed and memory of two"],
      ['ollm compare "Summarise this" --file notes.txt --judge auto', "the best ranked models, and a judge's opinion"],
      ['ollm compare "Why?" smollm2:135m qwen2.5:7b --runs 3 --json', "medians of three, whole, for a program"],
    ],
  ).action((prompt: string, models: readonly string[], flags: CompareFlags) =>
    run(async (io) => (await import("./shell/compare.ts")).compare(prompt, models, flags, io)),
  );

  withExamples(
    withJson(
      program
        .command("winners")
        .description("models that were picked in comparisons: their kind of task goes to them")
        .option("--pick <model>", "pick this model of a comparison")
        .option("--comparison <id>", "of --pick: which one (default: the newest)")
        .addOption(
          new Option(
            "--task <task>",
            "of --pick and --undo: which kind of task (default: the comparison's; the newest pick's)",
          ).choices(["code", "general", "creative", "fast", "vision"]),
        )
        .option("--undo", "take the newest pick back; the one before holds again"),
      "preferences[{task model comparison_id picked_at}]",
    ),
    [
      ["ollm winners", "what was picked, for which tasks"],
      ["ollm winners --undo --task code", "the newest pick for code no longer holds"],
    ],
  ).action((flags: WinnersFlags) => run(async (io) => (await import("./shell/winners.ts")).winners(flags, io)));
}
