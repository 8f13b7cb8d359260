/**
 * `npm run inspector`: MCP Inspector's command line drives the built command as a client would: over stdio through front
 * and daemon, over stdio alone, over HTTP and over SSE, with the schemas judged strictly. Exits with 1 when a call fails.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { buildAll } from "../scripts/build.ts";
import { installJudges, judge, say } from "./judges.ts";
import { start, withTemporaryHome } from "./world.ts";

const command = fileURLToPath(new URL("../dist/cli.mjs", import.meta.url));
const limitMs = 60_000;

const calls: readonly (readonly string[])[] = [
  ["--method", "tools/list", "--strict"],
  ["--method", "tools/call", "--tool-name", "list_models"],
  ["--method", "resources/list"],
  ["--method", "resources/templates/list"],
  ["--method", "resources/read", "--uri", "ollm://status/ram"],
];

const failures: string[] = [];

await Promise.all([installJudges(), buildAll()]);
await withTemporaryHome(async (environment) => {
  const listener = await start<{ url: string; token_file: string }>(
    [command, "serve", "--port", "0", "--json"],
    environment,
  );
  try {
    const token = (await readFile(listener.line.token_file, "utf8")).trim();
    const header = ["--header", `Authorization: Bearer ${token}`];
    const mcp = new URL("/mcp", listener.line.url).href;
    const ways: readonly (readonly [name: string, target: readonly string[]])[] = [
      ["stdio", [process.execPath, command]],
      ["stdio, modern", ["--protocol-era", "modern", process.execPath, command]],
      ["HTTP", ["--transport", "http", "--server-url", mcp, ...header]],
      ["HTTP, modern", ["--transport", "http", "--server-url", mcp, "--protocol-era", "modern", ...header]],
      ["SSE", ["--transport", "sse", "--server-url", new URL("/sse", listener.line.url).href, ...header]],
    ];
    for (const [way, target] of ways) {
      for (const call of calls) {
        const { exitCode, output } = await judge("inspector", ["--cli", ...target, ...call], { environment, limitMs });
        const label = `${way}: ${call.slice(1).join(" ")}`;
        say(`${exitCode === 0 ? "passed" : `FAILED (${exitCode})`}  ${label}`);
        if (exitCode === 0) continue;
        failures.push(label);
        say(output.replaceAll(token, "<token>"));
      }
    }
  } finally {
    await listener.stop();
  }
});
// Rejected while a daemon runs, so in a home of its own.
await withTemporaryHome(async (environment) => {
  const target = [process.execPath, command, "--standalone"];
  const call = ["--method", "tools/list", "--strict"];
  const { exitCode, output } = await judge("inspector", ["--cli", ...target, ...call], { environment, limitMs });
  say(`${exitCode === 0 ? "passed" : `FAILED (${exitCode})`}  stdio, standalone: tools/list --strict`);
  if (exitCode === 0) return;
  failures.push("standalone");
  say(output);
});
say(failures.length === 0 ? "inspector: all passed" : `inspector: FAILED: ${failures.join("; ")}`);
process.exitCode = failures.length === 0 ? 0 : 1;
