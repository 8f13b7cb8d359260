import { writeFile } from "node:fs/promises";
import type { Profiler } from "node:inspector";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Bench } from "./bench.ts";
import { type Budget, budgets } from "../scripts/house/budgets.ts";
import { type FakeModel, sampleModels } from "../test/support/fake-ollama.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import type { Question } from "./support/probe.ts";
import { onlyEngine, withFakeEngine, withProbedServer } from "./support/programs.ts";

const warmUpCalls = 30;
const warmUpEvictions = 8;
/** Counting ends when so many calls one after another showed nothing that could be spared, or after so many in all. */
const enough = 40;
const atMost = 240;
const quietMs = 10;
const prompt = "Name three colours.";
const sources = new URL("../src/", import.meta.url).href;
const entry = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

/** Two models of which either fits alone: the small one is named, the larger one is what an automatic request takes. */
const small = "qwen2.5:0.5b";
const large = "qwen2.5:7b";
const models = [
  { name: small, architecture: "qwen2", sizeBytes: 400_000_000 },
  { name: large, architecture: "qwen2", sizeBytes: 4_700_000_000 },
] satisfies readonly FakeModel[];
const maxBytes = 5_200_000_000;

/** Functions whose calls are counted by name, in these folders of `src`. */
const named = {
  plans: { name: "planLoad", folder: "orchestrator/memory/" },
  polls: { name: "refresh", folder: "orchestrator/" },
} as const;

interface Called {
  /** File and place of the function. */
  readonly key: string;
  readonly file: string;
  readonly name: string;
  readonly calls: number;
}

type Probe = (question: Question) => Promise<unknown>;

type Call = (args: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>>>;

export const path: Bench = {
  name: "path",
  summary:
    "our own code between a tool call and its answer, with a named and loaded model or (--evict) one that must be loaded in place of another: files, functions and calls within their budgets",
  options: ["by"],
  flags: ["evict"],
  help: `The sources run under tsx in a standalone server with V8's precise coverage, and of each function the fewest calls in ${enough} to ${atMost} rounds count, because timers and writes run beside some. --by file|function lists what was called. Budgets: scripts/house/budgets.json. JSON: files, functions, calls; with --evict also plans and polls, the calls of ${named.plans.name} and ${named.polls.name}.`,
  runsSources: true,
  run: async ({ by = "none", evict }) => {
    const called = await (evict === undefined ? warmCall() : evictingCall());
    const totals = {
      files: new Set(called.map(({ file }) => file)).size,
      functions: called.length,
      calls: sumOf(called),
      ...(evict === undefined ? {} : { plans: callsOf(called, named.plans), polls: callsOf(called, named.polls) }),
    };
    const held: Readonly<Record<string, Budget>> = budgets[evict === undefined ? "warm" : "evict"];
    const passed = Object.entries(totals).every(([name, count]) => count <= (held[name]?.budget ?? 0));
    const listed = (of: keyof Budget): string =>
      Object.entries(held)
        .map(([name, budget]) => `${budget[of]} ${name}`)
        .join(", ");
    return {
      rows:
        by === "function"
          ? called.map(({ file, name, calls }) => ({ file, name, calls }))
          : by === "file"
            ? byFile(called)
            : [totals],
      totals,
      verdict: `budgets ${listed("budget")}${passed ? "" : ": exceeded"}; aims ${listed("aim")}`,
      passed,
    };
  },
};

/** A call with a named and loaded model. */
function warmCall(): Promise<readonly Called[]> {
  const ask = async (call: Call): Promise<void> => void (await call({ model: "smollm2:135m" }));
  return fewest(sampleModels, {}, warmUpCalls, { ask });
}

/** A call without a model, whose model fits only in place of the one that is loaded. */
function evictingCall(): Promise<readonly Called[]> {
  return fewest(models, { OLLM_MEMORY_MAX_BYTES: String(maxBytes) }, warmUpEvictions, {
    before: async (call) => void (await call({ model: small })),
    ask: async (call) => {
      const answer = await call({});
      if (answer["model"] !== large) throw new Error(`not an eviction: ${JSON.stringify(answer)}`);
    },
  });
}

/** What every `ask` calls, of each function the fewest calls; `before` runs uncounted before each. */
function fewest(
  installed: readonly FakeModel[],
  settings: Readonly<Record<string, string>>,
  warmUps: number,
  { before, ask }: { readonly before?: (call: Call) => Promise<void>; readonly ask: (call: Call) => Promise<void> },
): Promise<readonly Called[]> {
  return withCleanEnvironment(async (environment) => {
    const file = join(environment["HOME"] ?? "", "models.json");
    await writeFile(file, JSON.stringify(installed));
    return await withFakeEngine(["--models", file], (url) => {
      const own = { ...environment, ...onlyEngine(url), ...settings };
      return withProbedServer([], [entry, "--standalone"], own, async (client, probe) => {
        const call: Call = async (args) => {
          const answer = await client.request("tools/call", {
            name: "route_and_generate",
            arguments: { prompt, ...args },
          });
          if (answer.result?.structuredContent === undefined || answer.result.isError === true)
            throw new Error(JSON.stringify(answer));
          return answer.result.structuredContent;
        };
        await probe("cover");
        for (let warmUp = 0; warmUp < warmUps; warmUp += 1) {
          await before?.(call);
          await ask(call);
        }
        let least: readonly Called[] | undefined;
        // A call that ran beside a timer or a write is no less than those before.
        for (let same = 0, round = 0; same < enough && round < atMost; round += 1) {
          await before?.(call);
          await settled(probe);
          await ask(call);
          const called = await coverage(probe);
          const lesser = least === undefined ? called : inBoth(least, called);
          same = least !== undefined && sumOf(lesser) === sumOf(least) ? same + 1 : 0;
          least = lesser;
        }
        return least ?? [];
      });
    });
  });
}

/** Waits until what the last call left to do, such as writing documents, is done. */
async function settled(probe: Probe): Promise<void> {
  for (let quiet = 0; quiet < 2; quiet = (await coverage(probe)).length === 0 ? quiet + 1 : 0) await delay(quietMs);
}

async function coverage(probe: Probe): Promise<readonly Called[]> {
  return calledIn((await probe("coverage")) as readonly Profiler.ScriptCoverage[]);
}

function calledIn(scripts: readonly Profiler.ScriptCoverage[]): readonly Called[] {
  return (
    scripts
      .filter(({ url }) => url.startsWith(sources))
      .flatMap(({ url, functions }) =>
        functions.map(({ functionName, ranges }) => ({
          key: `${url}:${ranges[0]?.startOffset}`,
          file: url.slice(sources.length).replace(/\?.*$/, ""),
          name: functionName === "" ? "(anonymous)" : functionName,
          calls: ranges[0]?.count ?? 0,
        })),
      )
      // `__name` is esbuild's, for the names of functions.
      .filter(({ name, calls }) => calls > 0 && name !== "__name")
  );
}

/** The functions that both called, with the fewer calls. */
function inBoth(one: readonly Called[], other: readonly Called[]): readonly Called[] {
  const others = new Map(other.map(({ key, calls }) => [key, calls]));
  return one
    .map((each) => ({ ...each, calls: Math.min(each.calls, others.get(each.key) ?? 0) }))
    .filter(({ calls }) => calls > 0);
}

function byFile(called: readonly Called[]): readonly { file: string; functions: number; calls: number }[] {
  return [...new Set(called.map(({ file }) => file))]
    .map((file) => {
      const inFile = called.filter((each) => each.file === file);
      return { file, functions: inFile.length, calls: sumOf(inFile) };
    })
    .toSorted((a, b) => b.calls - a.calls);
}

/** Calls of a function by its name. None at all means that it has another name now, not that it was never called. */
function callsOf(
  called: readonly Called[],
  { name, folder }: { readonly name: string; readonly folder: string },
): number {
  const calls = sumOf(called.filter((each) => each.name === name && each.file.startsWith(folder)));
  if (calls === 0) throw new Error(`no call of ${name} in src/${folder}: bench/path.ts names the function to count`);
  return calls;
}

function sumOf(called: readonly Called[]): number {
  return called.reduce((sum, { calls }) => sum + calls, 0);
}
