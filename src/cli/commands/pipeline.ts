import { type ShellCommand, repeated, numberBetween } from "./options.ts";

/** `ollm pipeline`. */
export function addPipelines(program: ShellCommand): void {
  const pipeline = program
    .command("pipeline")
    .description("run prompts in steps that build on each other")
    .helpCommand(false);
  pipeline
    .command("list")
    .description("list pipelines and their variables")
    .json("pipelines[{name, description, inputs, source, file}], problems")
    .loads(async () => (await import("./run-pipeline.ts")).listThem);
  pipeline
    .command("show")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .description("show its steps; with its variables also the models, loads, tokens and seconds of a run")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .json("yaml, plan[{step, model, engine, load, prompts, prompt_tokens, seconds}], notes")
    .loads(async () => (await import("./run-pipeline.ts")).showOne);
  pipeline
    .command("run")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .description("run its steps and print what the last one answers; the same command continues a run")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .option("--skip <step>", "leave a step out; repeatable", repeated)
    .option("-o, --output <file>", "write the answer to this file, overwriting it")
    .json("text, model, steps[{step, counts, skipped}], failures, asks, written, results, notes, job")
    .loads(async () => (await import("./run-pipeline.ts")).runOne);
  pipeline
    .command("new")
    .argument("<name>", "letters, digits, - and _")
    .argument("<goal>", "what it is to do")
    .description("have a model write a pipeline, read it, and save it as a YAML file")
    .json("name, file, yaml")
    .loads(async () => (await import("./run-pipeline.ts")).writeOne);
}

/** `ollm delegate`. */
export function addDelegate(program: ShellCommand): void {
  program
    .command("delegate")
    .argument("<task...>", "what is to be done")
    .description("have a local model do a task on a copy of files; a check says whether it is done")
    .option("--files <path>", "folders, files, patterns (default: this folder); repeatable", repeated)
    .option("--worker <name>", "of the setting workers, or an agent of .claude/agents")
    .option("--verify <command>", "check, run in a sandbox on the copy")
    .option("--model <name>", "model to use (default: the best that fits)")
    .option("--profile <name>", "profile that chooses the model")
    .option("--max-turns <number>", "limit of answers of the model", numberBetween(1, 100, "whole"))
    .option("--max-seconds <number>", "limit of time", numberBetween(1, 7_200, "whole"))
    .option("--apply", "apply verified changes without asking")
    .json("state, summary, files[{path, kind, diff}], check, tried, notes, model, turns, tokens")
    .examples(['ollm delegate "fix dates.ts" --verify "npm test"', "asks before it changes a file"])
    .loads(async () => (await import("./run-pipeline.ts")).delegateTask);
}
