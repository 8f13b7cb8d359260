import type { Profiler } from "node:inspector";
import { fileURLToPath } from "node:url";
import type { Bench } from "./bench.ts";
import { withCleanEnvironment } from "./support/environment.ts";
import { onlyEngine, withFakeEngine, withProbedServer } from "./support/programs.ts";

const bars = { files: 40, functions: 150, calls: 500 } as const;
const warmUpCalls = 30;
const counted = 15;
const model = "smollm2:135m";
const prompt = "Name three colours.";
const sources = new URL("../src/", import.meta.url).href;
const entry = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

interface Called {
  readonly file: string;
  readonly name: string;
  readonly calls: number;
}

export const path: Bench = {
  name: "path",
  summary: `our own code between a tool call and its answer, with a named and loaded model: at most ${bars.files} files, ${bars.functions} functions, ${bars.calls} calls`,
  options: ["by"],
  help: `The sources run under tsx in a standalone server with V8's precise coverage; of ${counted} warm calls the one with fewest function calls counts, because timers run beside some. --by file|function lists what was called. JSON: files, functions, calls.`,
  runsSources: true,
  run: ({ by = "none" }) =>
    withCleanEnvironment(async (environment) => {
      const called = await fewest(environment);
      const totals = {
        files: new Set(called.map(({ file }) => file)).size,
        functions: called.length,
        calls: sumOf(called),
      };
      const passed = totals.files <= bars.files && totals.functions <= bars.functions && totals.calls <= bars.calls;
      return {
        rows: by === "function" ? called.map((each) => ({ ...each })) : by === "file" ? byFile(called) : [totals],
        totals,
        verdict: `${totals.files} files, ${totals.functions} functions, ${totals.calls} calls; bars ${bars.files}, ${bars.functions} and ${bars.calls}${passed ? "" : ": missed"}`,
        passed,
      };
    }),
};

/** The functions of one warm call, of the call that needed fewest. */
function fewest(environment: Record<string, string>): Promise<readonly Called[]> {
  return withFakeEngine([], (url) =>
    withProbedServer([], [entry, "--standalone"], { ...environment, ...onlyEngine(url) }, async (client, ask) => {
      const call = async (): Promise<void> => {
        const answer = await client.request("tools/call", { name: "route_and_generate", arguments: { prompt, model } });
        if (answer.result === undefined || answer.result.isError === true) throw new Error(JSON.stringify(answer));
      };
      await ask("cover");
      for (let warmUp = 0; warmUp < warmUpCalls; warmUp += 1) await call();
      let least: readonly Called[] | undefined;
      for (let measured = 0; measured < counted; measured += 1) {
        await ask("coverage");
        await call();
        const called = calledIn((await ask("coverage")) as readonly Profiler.ScriptCoverage[]);
        if (least === undefined || sumOf(called) < sumOf(least)) least = called;
      }
      return least ?? [];
    }),
  );
}

function calledIn(scripts: readonly Profiler.ScriptCoverage[]): readonly Called[] {
  return (
    scripts
      .filter(({ url }) => url.startsWith(sources))
      .flatMap(({ url, functions }) =>
        functions.map(({ functionName, ranges }) => ({
          file: url.slice(sources.length).replace(/\?.*$/, ""),
          name: functionName === "" ? "(anonymous)" : functionName,
          calls: ranges[0]?.count ?? 0,
        })),
      )
      // `__name` is esbuild's, for the names of functions.
      .filter(({ name, calls }) => calls > 0 && name !== "__name")
  );
}

function byFile(called: readonly Called[]): readonly { file: string; functions: number; calls: number }[] {
  return [...new Set(called.map(({ file }) => file))]
    .map((file) => {
      const inFile = called.filter((each) => each.file === file);
      return { file, functions: inFile.length, calls: sumOf(inFile) };
    })
    .toSorted((a, b) => b.calls - a.calls);
}

function sumOf(called: readonly Called[]): number {
  return called.reduce((sum, { calls }) => sum + calls, 0);
}
