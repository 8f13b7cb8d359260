import { Option, type Command } from "commander";
import { repeated, wholeNumber, withExamples, withJson, type Run } from "./command-options.ts";
import type { CompareFlags } from "./commands/compare.ts";
import type { WinnersFlags } from "./commands/winners.ts";

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
          "text file, or git:staged and the like, to add to the prompt; repeatable",
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
        .summary("show, add or undo the models picked in comparisons")
        .description("show, add or undo the models picked in comparisons; routing prefers them for their kind of task")
        .option("--pick <model>", "pick this model")
        .option("--comparison <id>", "with --pick: the comparison (default: the newest)")
        .addOption(
          new Option(
            "--task <task>",
            "with --pick and --undo: the kind of task (default: that of the comparison, or of the newest pick)",
          ).choices(["code", "general", "creative", "fast", "vision"]),
        )
        .option("--undo", "undo the newest pick and restore the one before"),
      "preferences[{task model comparison_id picked_at}]",
    ),
    [
      ["ollm winners", "the picks in effect"],
      ["ollm winners --undo --task code", "undo the newest pick for code"],
    ],
  ).action((flags: WinnersFlags) => run(async (io) => (await import("./commands/winners.ts")).winners(flags, io)));
}
