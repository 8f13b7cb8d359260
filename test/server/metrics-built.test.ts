import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { type DaemonHome, makeDaemonHome } from "../support/daemon-home.ts";
import { type StdioClient, connectStdio } from "../support/stdio-client.ts";

let home: DaemonHome;
const clients: StdioClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((each) => each.close().catch(() => undefined)));
  await home.close();
});

async function connect(): Promise<StdioClient> {
  const client = await connectStdio("modern", home.environment, []);
  clients.push(client);
  return client;
}

interface Metrics {
  readonly total: Record<string, unknown>;
  readonly by: Record<string, readonly Record<string, unknown>[]>;
  readonly money: { readonly total: Record<string, unknown>; readonly rows: readonly Record<string, unknown>[] };
}

async function metricsOf(client: StdioClient): Promise<Metrics> {
  const { contents } = (await client.readResource("ollm://metrics")) as { contents: { text: string }[] };
  return JSON.parse(contents[0]?.text ?? "") as Metrics;
}

it("what was counted survives a daemon that is killed", async () => {
  home = await makeDaemonHome();
  const client = await connect();
  for (let call = 0; call < 3; call += 1) {
    await client.callTool("route_and_generate", { prompt: "Write a function that adds two numbers.", task: "code" });
  }
  const before = await metricsOf(client);
  expect(before.total).toMatchObject({ requests: 3, answered: 3, failed: 0 });
  expect(before.by["model"]?.map(({ name }) => name)).toEqual(["smollm2:135m"]);
  expect(before.money.rows).toMatchObject([{ kind: "prompt" }, { kind: "answer" }, { kind: "read" }]);
  // Of the third request: it may be written by itself.
  const stored = async (): Promise<number> => {
    const journal = await readFile(join(home.home, "metrics.journal"), "utf8").catch(() => "");
    const lines = journal.split("\n").filter((line) => line !== "");
    const rows = lines.flatMap(
      (line) => (JSON.parse(line) as { event: { rows: [string[], [number[]]][] } }).event.rows,
    );
    return rows.reduce((sum, [, [[requests = 0]]]) => sum + requests, 0);
  };
  await home.until("all requests are in the journal", async () => (await stored()) === 3);
  process.kill(home.claim().pid, "SIGKILL");

  const again = await connect();
  const after = await metricsOf(again);
  expect(after.total).toEqual(before.total);
  expect(after.money).toEqual(before.money);
  await again.callTool("route_and_generate", { prompt: "Write a function that sorts a list.", task: "code" });
  expect((await metricsOf(again)).total).toMatchObject({ requests: 4, answered: 4 });
  expect((await readdir(home.home)).filter((name) => name.includes("broken"))).toEqual([]);
});
