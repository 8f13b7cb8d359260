import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CallerTemplates } from "../src/orchestrator/templates/templates.ts";
import type { CallerContext } from "../src/orchestrator/api/types.ts";
import { plainSettings } from "../test/support/caller-settings.ts";
import type { Bench } from "./bench.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

const rounds = 200;
const barMs = 5;

export const templates: Bench = {
  name: "templates",
  summary: `render a template, from its file on, with values up to 1 MiB (bar ${barMs} ms)`,
  async run() {
    const home = await mkdtemp(join(tmpdir(), "ollm-bench-templates-"));
    const folder = join(home, "templates");
    await mkdir(folder);
    // Every value twice, text around it, braces and a default: what a template does.
    await writeFile(join(folder, "bench.yaml"), 'template: "{a} {{x}} {b:default} {\\"json\\": {c:}} {a}"\n');
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
    const known = new CallerTemplates({ folder, log, emit: () => undefined });
    const caller: CallerContext = {
      id: "bench",
      client: "bench",
      roots: [],
      settings: plainSettings,
      signal: new AbortController().signal,
    };
    try {
      const rows: { value: string; p50_ms: number; p95_ms: number; max_ms: number }[] = [];
      for (const [value, bytes] of [
        ["1 KiB", 1024],
        ["64 KiB", 65_536],
        ["1 MiB", 1_048_576],
      ] as const) {
        // A value that looks like a template, all of it.
        const a = "{a}{{b}}".repeat(bytes / 8);
        const times: number[] = [];
        for (let round = 0; round < rounds; round += 1) {
          const startedAt = performance.now();
          const outcome = await known.render(caller, "bench", { a });
          times.push(performance.now() - startedAt);
          if (!("rendered" in outcome) || !outcome.rendered.text.endsWith(a))
            throw new Error("rendered something else");
        }
        const [p50_ms, p95_ms, max_ms] = [median(times), percentile(times, 95), Math.max(...times)].map((each) =>
          rounded(each, 2),
        );
        rows.push({ value, p50_ms: p50_ms ?? 0, p95_ms: p95_ms ?? 0, max_ms: max_ms ?? 0 });
      }
      const reached = rows.at(-1)?.p50_ms ?? Number.POSITIVE_INFINITY;
      return {
        rows,
        verdict: `a value of 1 MiB takes ${reached} ms (median, the look at the files included), bar ${barMs}`,
        passed: reached < barMs,
      };
    } finally {
      known.close();
      await rm(home, { recursive: true, force: true });
    }
  },
};
