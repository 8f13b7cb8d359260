import type { Bench } from "../bench.ts";
import { agree } from "./agree.ts";
import { choice } from "./choice.ts";
import { extractions } from "./extractions.ts";
import { judged } from "./judged.ts";
import { learning } from "./learning.ts";
import { loops } from "./loops.ts";
import { meaning } from "./meaning.ts";
import { rows } from "./rows.ts";
import { scope } from "./scope.ts";
import { statements } from "./statements.ts";
import { tasks } from "./tasks.ts";
import { tokens } from "./tokens.ts";

/** Each measures one thing that the program says about answers or models. */
const parts: readonly Bench[] = [
  agree,
  choice,
  extractions,
  judged,
  learning,
  loops,
  meaning,
  rows,
  scope,
  statements,
  tasks,
  tokens,
];

export const judgement: Bench = {
  name: "judgement",
  summary: "whether what is said about answers, models and prompts is true, on labelled sets of our own",
  options: ["part", "model", "way", "kilobytes", "half", "threshold", "set", "server"],
  help: `--part ${parts.map(({ name }) => name).join("|")}. The sets in bench/judgement/sets/ are halved at random: code was tuned on \`dev\` alone, \`judge\` only measures.\n${parts.map(({ name, summary }) => `${name}: ${summary}`).join("\n")}`,
  runsSources: true,
  async run({ part, ...options }) {
    const found = parts.find(({ name }) => name === part);
    if (found === undefined) throw new Error(`--part must be one of: ${parts.map(({ name }) => name).join(", ")}`);
    return await found.run(options);
  },
};
