/** `npm run bench -- NAME [--json | --help] [options of the bench]`; without a name, the list of them. */
import { parseArgs } from "node:util";
import { buildAll } from "../scripts/build.ts";
import { OrchestratorError } from "../src/orchestrator/api/errors.ts";
import type { Bench } from "./bench.ts";
import { table } from "./support/table.ts";
import { answers } from "./answers.ts";
import { batch } from "./batch.ts";
import { called } from "./called.ts";
import { cascade } from "./cascade.ts";
import { classify } from "./classify.ts";
import { dashboard } from "./dashboard.ts";
import { defaults } from "./defaults.ts";
import { demoTasks } from "./demo-tasks.ts";
import { door } from "./door.ts";
import { embedded } from "./embedded.ts";
import { lookup } from "./lookup.ts";
import { reread } from "./reread.ts";
import { eviction } from "./eviction.ts";
import { fanout } from "./fanout.ts";
import { firstHour } from "./first-hour.ts";
import { fit } from "./fit.ts";
import { fitGrid } from "./fit-grid.ts";
import { growth } from "./growth.ts";
import { hostile } from "./hostile.ts";
import { hosts } from "./hosts.ts";
import { judgement } from "./judgement/judgement.ts";
import { long } from "./long.ts";
import { many } from "./many.ts";
import { memory } from "./memory.ts";
import { metrics } from "./metrics.ts";
import { naive } from "./naive.ts";
import { overhead } from "./overhead.ts";
import { path } from "./path.ts";
import { preempt } from "./preempt.ts";
import { prefix } from "./prefix.ts";
import { ranking } from "./ranking.ts";
import { restart } from "./restart.ts";
import { routing } from "./routing.ts";
import { savings } from "./savings.ts";
import { startup } from "./startup.ts";
import { templates } from "./templates.ts";
import { toolsSize } from "./tools-size.ts";
import { worker } from "./worker.ts";

const benches: readonly Bench[] = [
  answers,
  batch,
  called,
  cascade,
  classify,
  dashboard,
  defaults,
  demoTasks,
  door,
  startup,
  overhead,
  fanout,
  embedded,
  lookup,
  reread,
  eviction,
  firstHour,
  fit,
  fitGrid,
  growth,
  hostile,
  hosts,
  judgement,
  long,
  many,
  memory,
  metrics,
  naive,
  path,
  preempt,
  prefix,
  ranking,
  restart,
  routing,
  savings,
  templates,
  toolsSize,
  worker,
];

const name = process.argv.slice(2).find((argument) => !argument.startsWith("-"));
const bench = benches.find((candidate) => candidate.name === name);

if (bench === undefined) {
  if (name !== undefined) console.error(`There is no bench "${name}".`);
  console.log(table(benches.map((each) => ({ bench: each.name, measures: each.summary }))));
  process.exitCode = name === undefined ? 0 : 1;
} else {
  try {
    await run(bench);
  } catch (error) {
    if (!isForUser(error)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}

async function run(chosen: Bench): Promise<void> {
  const own = (chosen.options ?? []).map((option) => [option, { type: "string" }] as const);
  const flags = (chosen.flags ?? []).map((flag) => [flag, { type: "boolean" }] as const);
  const { values } = parseArgs({
    allowPositionals: true,
    options: { ...Object.fromEntries([...own, ...flags]), json: { type: "boolean" }, help: { type: "boolean" } },
  });
  const { json, help, ...options } = values as { json?: boolean; help?: boolean } & Record<string, string | true>;
  if (help === true) {
    console.log(helpOf(chosen));
    return;
  }
  if (chosen.runsSources !== true) await buildAll();
  const { rows, totals, line, verdict, passed } = await chosen.run(given(options));
  if (json === true && line !== undefined) console.log(JSON.stringify(line));
  else if (json === true)
    console.log(JSON.stringify({ bench: chosen.name, ...totals, rows, verdict, passed }, null, 2));
  else console.log([table(rows), ...(verdict === undefined ? [] : ["", verdict])].join("\n"));
  process.exitCode = passed === false ? 1 : 0;
}

function given(options: Readonly<Record<string, string | true>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(options).map(([option, value]) => [option, value === true ? "" : value]));
}

function helpOf({ name: benchName, summary, options = [], flags = [], help }: Bench): string {
  const valued = options.map((option) => `--${option} ${option.toUpperCase()}`);
  const usage = ["--json", ...valued, ...flags.map((flag) => `--${flag}`)];
  return [`npm run bench -- ${benchName} [${usage.join("] [")}]`, summary, ...(help ? ["", help] : [])].join("\n");
}

/** Options or files that can't be used; anything else is a defect, and its stack is shown. */
function isForUser(error: unknown): error is Error {
  if (error instanceof OrchestratorError) return true;
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}
