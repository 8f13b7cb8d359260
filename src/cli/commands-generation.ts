import { Option, type Command } from "commander";
import type { Run } from "./command-options.ts";

/** The commands that ask models. */
export function addGeneration(program: Command, run: Run): void {
  program.commandsGroup("Ask:");
  void run;
  void Option;
}
