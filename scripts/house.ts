/**
 * `npm run house`: the numbers of the sources and of a prompt's way through them, each measured now, beside what it may
 * be at most (`house/budgets.json`) and what is aimed at. `npm run house -- lower` writes lower budgets down, and
 * `npm run house -- NAME` lists what a number counts.
 */
import { writeFile } from "node:fs/promises";
import { path } from "../bench/path.ts";
import { table } from "../bench/support/table.ts";
import { type Budget, budgets } from "./house/budgets.ts";
import { arrowsOf, countHouse, filesOfOption, filesSeen, ringsOf, shapesOf } from "./house/count.ts";
import { readSources } from "./house/sources.ts";

interface Measured extends Budget {
  readonly id: string;
  readonly now: number;
  /** The lowest budget that holds: timers and writes beside an eviction take part in some of its counts. */
  readonly lowest: number;
}

const files = readSources();
const lists: Readonly<Record<string, () => readonly string[]>> = {
  rings: () => ringsOf(files).map((ring) => ring.join(" ")),
  arrows: () => Object.values(arrowsOf(files)).flat(),
  shapes: () => Object.values(shapesOf(files)).flat(),
  seen: () => filesSeen(files),
  option: () => filesOfOption(files),
};
const noisy: readonly string[] = ["evict functions", "evict calls"];
const rows: Readonly<Record<string, readonly string[]>> = {
  "a warm prompt: files · functions · calls": ["warm files", "warm functions", "warm calls"],
  "a prompt that evicts and loads: files · functions · calls": ["evict files", "evict functions", "evict calls"],
  "the same: plans · polls": ["evict plans", "evict polls"],
  "rings of rooms · rooms in them": ["house rings", "house roomsInRings"],
  "arrows upward: orchestrator · server · cli": [
    "house arrows orchestrator",
    "house arrows server",
    "house arrows cli",
  ],
  "shapes of a request · an answer · a model in memory": [
    "house shapes request",
    "house shapes answer",
    "house shapes memory",
  ],
  "names of types · exports · files that other rooms see": ["house types", "house exports", "house seen"],
  "files that a sampling option touches": ["house option"],
  "code lines · files · folders": ["house lines", "house files", "house folders"],
};

const [asked] = process.argv.slice(2);
if (asked === undefined) report(await measure());
else if (asked === "lower") await lower(await measure());
else console.log((lists[asked]?.() ?? [`lower, or one of ${Object.keys(lists).join(", ")}`]).join("\n"));

async function measure(): Promise<readonly Measured[]> {
  const counts: Readonly<Record<string, Readonly<Record<string, number>>>> = {
    warm: (await path.run({})).totals ?? {},
    evict: (await path.run({ evict: "" })).totals ?? {},
    house: countHouse(files),
  };
  return Object.entries(budgets).flatMap(([group, ofGroup]) =>
    Object.entries<Budget>(ofGroup).map(([name, budget]) => {
      const id = `${group} ${name}`;
      const now = counts[group]?.[name];
      if (now === undefined) throw new Error(`${id} is not measured`);
      return { ...budget, id, now, lowest: noisy.includes(id) ? Math.ceil(now * 1.02) : now };
    }),
  );
}

function report(measured: readonly Measured[]): void {
  const column = (ids: readonly string[], of: (each: Measured) => number): string =>
    ids.flatMap((id) => measured.filter((each) => each.id === id).map((each) => of(each))).join(" · ");
  console.log(
    table(
      Object.entries(rows).map(([number, ids]) => ({
        number,
        now: column(ids, ({ now }) => now),
        budget: column(ids, ({ budget }) => budget),
        aim: column(ids, ({ aim }) => aim),
      })),
    ),
  );
  for (const { id, now, budget, lowest } of measured) {
    if (lowest < budget) console.log(`${id}: the budget of ${budget} can be lowered to ${lowest}`);
    if (now <= budget) continue;
    console.log(`${id}: ${now} is above the budget of ${budget}`);
    process.exitCode = 1;
  }
}

async function lower(measured: readonly Measured[]): Promise<void> {
  const lowered = Object.entries(budgets).map(([group, ofGroup]) => [
    group,
    Object.fromEntries(
      Object.entries<Budget>(ofGroup).map(([name, { budget, aim }]) => {
        const lowest = measured.find(({ id }) => id === `${group} ${name}`)?.lowest ?? budget;
        return [name, { budget: Math.min(budget, lowest), aim }];
      }),
    ),
  ]);
  const file = new URL("house/budgets.json", import.meta.url);
  await writeFile(file, `${JSON.stringify(Object.fromEntries(lowered), null, 2)}\n`);
  report(measured);
}
