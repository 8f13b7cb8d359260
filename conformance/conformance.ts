/**
 * `npm run conformance`: the protocol's own test suite. First every requirement of a revision, against the product's HTTP
 * stack and server factory extended by the suite's fixtures; then the scenarios without fixtures, against `ollm serve`.
 * Exits with 1 when a required scenario fails.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildAll } from "../scripts/build.ts";
import { installJudges, judge, say } from "./judges.ts";
import { startRelay } from "./relay.ts";
import { start, withTemporaryHome } from "./world.ts";

/** A revision with the scenarios that apply to any server. */
const revisions = [
  {
    revision: "2025-11-25",
    generic: [
      "server-initialize",
      "server-session-lifecycle",
      "ping",
      "tools-list",
      "resources-list",
      "server-sse-multiple-streams",
      "dns-rebinding-protection",
    ],
  },
  {
    revision: "2026-07-28",
    generic: [
      "tools-list",
      "resources-list",
      "sep-2164-resource-not-found",
      "server-sse-multiple-streams",
      "dns-rebinding-protection",
      "http-header-validation",
    ],
  },
] as const;

/** A whole revision takes some 20 s; a scenario has 30 s of its own. */
const limitMs = 240_000;
const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
/** The output of `ollm serve --json`, and of the fixtures' server. */
interface HttpListener {
  readonly url: string;
  readonly token_file: string;
}

const failures: string[] = [];

/** Judges the server that `args` start. */
async function against(args: readonly string[], run: (judged: Judged) => Promise<void>): Promise<void> {
  await withTemporaryHome(async (environment) => {
    const relay = await startRelay();
    // As with any proxy in front of the HTTP server.
    const settings = { allowedHosts: [relay.host], allowedOrigins: [`http://${relay.host}`] };
    const home = environment["OLLM_HOME"] ?? "";
    await mkdir(home, { recursive: true, mode: 0o700 });
    await writeFile(join(home, "config.yaml"), JSON.stringify({ http: settings }));
    const listener = await start<HttpListener>(args, environment);
    try {
      relay.forwardTo({ url: listener.line.url, token: (await readFile(listener.line.token_file, "utf8")).trim() });
      await run(async (label, scenario) => {
        const judgement = ["server", "--url", `http://${relay.host}/mcp`, ...scenario];
        // The judge starts nothing of ours: it needs no home.
        const { exitCode, output } = await judge("conformance", judgement, { environment, limitMs });
        const [, summary] = output.split("=== SUMMARY ===");
        say(`\n== ${label}: ${exitCode === 0 ? "passed" : `FAILED (${exitCode})`} ==`);
        say((exitCode === 0 ? (summary ?? "") : output).trim());
        if (exitCode !== 0) failures.push(label);
      });
    } finally {
      relay.close();
      await listener.stop();
    }
  });
}

type Judged = (label: string, scenario: readonly string[]) => Promise<void>;

await Promise.all([installJudges(), buildAll()]);
await against(["--import", "tsx", here("server.ts")], async (judged) => {
  for (const { revision } of revisions) await judged(`${revision}, with fixtures`, ["--requirements", revision]);
});
if (process.env["SKIP_SERVE"] === undefined)
  await against([here("../dist/cli.mjs"), "serve", "--port", "0", "--json"], async (judged) => {
    for (const { revision, generic } of revisions) {
      for (const scenario of generic) {
        await judged(`${revision} ${scenario}, ollm serve`, ["--scenario", scenario, "--spec-version", revision]);
      }
    }
  });
say(failures.length === 0 ? "\nconformance: all passed" : `\nconformance: FAILED: ${failures.join("; ")}`);
process.exitCode = failures.length === 0 ? 0 : 1;
