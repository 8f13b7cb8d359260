import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { portsFile, portsIn, portsQuestion as prompt } from "../support/reading-engine.ts";
import { connectStdio, type StdioClient } from "../support/stdio-client.ts";

let home: DaemonHome;
let file = "";
const clients: StdioClient[] = [];

async function start(patienceSeconds: number): Promise<StdioClient> {
  home = await makeDaemonHome({ OLLM_JOBS_PATIENCE: `${patienceSeconds}` });
  const root = path.join(home.folder, "project");
  await mkdir(root);
  file = path.join(root, "guide.md");
  await writeFile(file, portsFile("guide.md", 20).text);
  const reply = (asked: string) => portsIn(asked).join(" ");
  home.ollama.models.clear();
  home.ollama.models.set("llama3.2:3b", { name: "llama3.2:3b", contextTokens: 2048, reply });
  return connect();
}

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close().catch(() => undefined)));
  await home.close();
});

async function connect(): Promise<StdioClient> {
  const client = await connectStdio("legacy", home.environment, ["--root", path.dirname(file)]);
  clients.push(client);
  return client;
}

it("a file beyond every window is answered in parts, over an engine that refuses what is too long", async () => {
  const client = await start(60);
  const answer = await client.callTool("route_and_generate", { prompt, files: [file] });
  const { text, parts } = answer.structuredContent as { text: string; parts: { total: number; missing?: unknown } };
  expect(text.split(" ")).toEqual(Array.from({ length: 20 }, (_, index) => String(9000 + index)));
  expect(parts.missing).toBeUndefined();
  expect(JSON.stringify(answer.content)).toContain(`read in ${parts.total} parts`);
  expect(home.ollama.requests.filter((request) => request.path === "/api/chat")).toHaveLength(parts.total + 1);
});

it("a daemon that is killed in the middle fails the job, which names the parts that were read", async () => {
  const client = await start(1);
  let chats = 0;
  home.ollama.models.set("llama3.2:3b", {
    name: "llama3.2:3b",
    contextTokens: 2048,
    reply(asked) {
      chats += 1;
      if (chats === 3) home.ollama.misbehave({ kind: "hang", afterLines: 0, times: 100 });
      return portsIn(asked).join(" ");
    },
  });
  const answer = await client.callTool("route_and_generate", { prompt, files: [file] });
  const { job } = answer.structuredContent as { job: string };
  expect(job).toMatch(/^generate-/);
  const status = async (asked: StdioClient) =>
    (await asked.callTool("job", { action: "status", job_id: job })).structuredContent as {
      readonly state: string;
      readonly error?: string;
    };
  expect((await status(client)).state).toBe("running");
  const record = path.join(home.home, "jobs", `${job}.json`);
  // Both parts that are answered.
  await expect.poll(() => readFile(record, "utf8").catch(() => "")).toMatch(/Section 1\b.*Section \d/s);
  process.kill(home.claim().pid, "SIGKILL");
  const later = await connect();
  const ended = await status(later);
  expect(ended.state).toBe("failed");
  expect(ended.error).toMatch(
    /^the daemon exited while the job was running; \d of \d parts were read: .*guide\.md: Section 1,/,
  );
});
