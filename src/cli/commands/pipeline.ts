import { type ShellCommand, repeated, numberBetween } from "./options.ts";

/** `ollm pipeline`. */
export function addPipelines(program: ShellCommand): void {
  const pipeline = program.command("pipeline");
  pipeline.command("list").loads(async () => (await import("./run-pipeline.ts")).listThem);
  pipeline
    .command("show")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .loads(async () => (await import("./run-pipeline.ts")).showOne);
  pipeline
    .command("run")
    .argument("<pipeline>", "a name from ollm pipeline list, or a YAML file")
    .option("--var <name=value>", "variable; repeatable", repeated)
    .option("--skip <step>", "leave a step out; repeatable", repeated)
    .option("-o, --output <file>", "write the answer to this file, overwriting it")
    .loads(async () => (await import("./run-pipeline.ts")).runOne);
  pipeline
    .command("new")
    .argument("<name>", "letters, digits, - and _")
    .argument("<goal>", "what it is to do")
    .loads(async () => (await import("./run-pipeline.ts")).writeOne);
}

/** `ollm delegate`. */
export function addDelegate(program: ShellCommand): void {
  program
    .command("delegate")
    .argument("<task...>", "what is to be done")
    .option("--files <path>", "folders, files, patterns (default: this folder); repeatable", repeated)
    .option("--worker <name>", "of the setting workers, or an agent of .claude/agents")
    .option("--verify <command>", "check, run in a sandbox on the copy")
    .option("--model <name>", "model to use (default: the best that fits)")
    .option("--profile <name>", "profile that chooses the model")
    .option("--max-turns <number>", "limit of answers of the model", numberBetween(1, 100, "whole"))
    .option("--max-seconds <number>", "limit of time", numberBetween(1, 7_200, "whole"))
    .option("--apply", "apply verified changes without asking")
    .loads(async () => (await import("./run-pipeline.ts")).delegateTask);
}
