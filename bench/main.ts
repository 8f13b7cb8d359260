/** `npm run bench -- NAME [--json]`; without a name, the list of them. */
import { parseArgs } from "node:util";
import { buildAll } from "../scripts/build.ts";
import type { Bench } from "./bench.ts";
import { table } from "./support/table.ts";
import { embedded } from "./embedded.ts";
import { fanout } from "./fanout.ts";
import { fit } from "./fit.ts";
import { memory } from "./memory.ts";
import { overhead } from "./overhead.ts";
import { startup } from "./startup.ts";
import { templates } from "./templates.ts";
import { toolsSize } from "./tools-size.ts";

const benches: readonly Bench[] = [startup, overhead, fanout, embedded, fit, memory, templates, toolsSize];

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: "boolean" } } });
const [name] = positionals;
const bench = benches.find((candidate) => candidate.name === name);

if (bench === undefined) {
  if (name !== undefined) console.error(`There is no bench "${name}".`);
  console.log(table(benches.map((each) => ({ bench: each.name, measures: each.summary }))));
  process.exitCode = name === undefined ? 0 : 1;
} else {
  await buildAll();
  const { rows, verdict, passed } = await bench.run();
  if (values.json === true) console.log(JSON.stringify({ bench: bench.name, rows, verdict, passed }, null, 2));
  else console.log([table(rows), ...(verdict === undefined ? [] : ["", verdict])].join("\n"));
  process.exitCode = passed === false ? 1 : 0;
}
