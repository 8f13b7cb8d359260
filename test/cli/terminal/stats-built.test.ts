import { afterAll, beforeAll, expect, it } from "vitest";
import { type DaemonHome, makeDaemonHome } from "../../support/daemon-home.ts";
import { runHere } from "./built-shell.ts";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { builtCommand } from "../../support/stdio-client.ts";

let home: DaemonHome;
beforeAll(async () => {
  home = await makeDaemonHome({}, { models: [{ name: "small:1b", reply: "Two words" }] });
});
afterAll(() => home.close());

interface Bill {
  readonly total: number;
  readonly currency: string;
  readonly formula: string;
  readonly rows: readonly { readonly kind: string; readonly price_per_million: number; readonly amount: number }[];
}

const bill = async (): Promise<Bill> =>
  JSON.parse((await runHere(home, ["stats", "--money", "--json"])).stdout) as Bill;
const sumOf = ({ rows }: Bill): number => rows.reduce((sum, { amount }) => sum + amount, 0);

it("an answer is counted, saved, opened to its rows, and repriced by another reference model", async () => {
  const before = await runHere(home, ["stats", "--money"]);
  expect(before.stdout).toContain("No tokens of local models are counted yet");
  expect((await runHere(home, ["status"])).stdout).not.toContain("saved");

  expect((await runHere(home, ["run", "--model", "small:1b", "Say two words"])).stdout).toContain("Two words");
  const first = await bill();
  expect(Object.keys(first)).toEqual(["total", "currency", "formula", "rows"]);
  expect(first.rows.map(({ kind, price_per_million }) => [kind, price_per_million])).toEqual([
    ["prompt", 2],
    ["answer", 10],
  ]);
  expect(first.total).toBeGreaterThan(0);
  expect(first.total).toBeCloseTo(sumOf(first), 12);
  const { stdout: status } = await runHere(home, ["status"]);
  expect(status).toMatch(
    /saved +0\.0\d+ USD this month \(\d+ local tokens at claude-sonnet-5-5 prices, less what assistants read\)/,
  );
  const { stdout: csv } = await runHere(home, ["stats", "--csv"]);
  expect(csv.split("\r\n")).toHaveLength(4);
  const { stdout: figures } = await runHere(home, ["stats", "--by", "model", "--json"]);
  expect(JSON.parse(figures)).toMatchObject({ by: "model", rows: [{ name: "small:1b", answered: 1 }] });

  await runHere(home, ["config", "set", "savings.referenceModel", "claude-opus-5-5"]);
  const second = await bill();
  expect(second.total).toBeCloseTo(first.total * 2, 12);
  expect(second.formula).toContain("List prices of claude-opus-5-5 on 2026-10-24");
});

it("each assistant has its own name and version, and its own savings", async () => {
  const assistants = [
    ["claude-code", "2.1.330"],
    ["qwen-cli-mcp-client-ollm", "0.0.1"],
    ["@cline/core", "0.0.74"],
  ] as const;
  for (const [name, version] of assistants) {
    const client = new Client({ name, version });
    const { environment: env } = home;
    await client.connect(new StdioClientTransport({ command: process.execPath, args: [builtCommand], env }));
    await client.callTool({ name: "route_and_generate", arguments: { prompt: "Say two words", model: "small:1b" } });
    await client.close();
  }
  const { stdout } = await runHere(home, ["stats", "--by", "client", "--json"]);
  const { rows } = JSON.parse(stdout) as { readonly rows: readonly object[] };
  for (const [name, version] of assistants) expect(rows).toContainEqual(expect.objectContaining({ name, version }));
  const { stdout: shown } = await runHere(home, ["stats", "--by", "client"]);
  for (const words of assistants) expect(shown).toContain(words.join(" "));
  const saved = (await bill()).rows.map((row) => (row as { readonly client?: string }).client);
  expect(saved).toEqual(expect.arrayContaining(assistants.map(([name]) => name)));
}, 60_000);
