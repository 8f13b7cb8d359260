import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cancelled, PromptTooLong, QueueFull } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { type TestListener, startListener } from "../http/listener-fixture.ts";

const script = fileURLToPath(new URL("../../../conformance/python/clients.py", import.meta.url));
const python = process.env["OLLM_TEST_PYTHON"] ?? (process.platform === "win32" ? "python" : "python3");

/** Why a client can't be tried here; undefined if it can. */
function missing(client: string): string | undefined {
  const tried = spawnSync(python, ["-c", `import ${client}`], { encoding: "utf8", timeout: 30_000 });
  if (tried.error !== undefined) return `${python} does not run; OLLM_TEST_PYTHON names another one`;
  return tried.status === 0 ? undefined : `${python} has no package ${client}; OLLM_TEST_PYTHON names another one`;
}

let listener: TestListener;
/** Answers that ended because their program went away. */
let abandoned = 0;

beforeAll(async () => {
  const capabilities = ["completion", "tools", "vision", "thinking"] as const;
  const models = [
    fakeModel("able:1b", gigabyte, { capabilities }),
    fakeModel("vectors:latest", gigabyte / 4, { capabilities: ["embedding"] }),
  ];
  const engine = createFakeEngine("fake", models, {
    embedding: { embed: async (_model, texts) => ({ vectors: texts.map(() => [3, 4, 5]), promptTokens: 7 }) },
  });
  engine.generate = async ({ messages, tools = [], format, think }, sink, signal) => {
    const last = messages.at(-1);
    const asked = last?.content ?? "";
    const end = {
      finishReason: "stop" as const,
      promptTokens: 40,
      cachedPromptTokens: 32,
      completionTokens: 6,
      loadMs: 0,
      firstTokenMs: 1,
      prefillMs: 1,
      decodeMs: 10,
      totalMs: 11,
    };
    if (asked === "full") throw new QueueFull("too many requests wait");
    if (asked === "too long") {
      const tokens = { promptTokens: 9_000, contextTokens: 4_096 };
      throw new PromptTooLong("the prompt has 9000 tokens; the window of able:1b has 4096", tokens);
    }
    if (tools.length > 0 && last?.role === "user")
      return { ...end, text: "", toolCalls: [{ id: "call_1", name: "get_weather", arguments: '{"city":"Paris"}' }] };
    if (asked === "endless") {
      sink.text("on and ");
      await new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          abandoned += 1;
          reject(new Cancelled("the answer was cancelled"));
        });
      });
    }
    const thinking = asked === "wonder" && think !== false ? "I wonder" : undefined;
    if (thinking !== undefined) sink.thinking(thinking);
    const images = last?.images?.length ? ` with ${last.images.length} image` : "";
    const answer = last?.role === "tool" ? `tool said ${asked}` : `answer to ${asked}${images}`;
    const text = format === undefined ? answer : '{"city":"Paris"}';
    for (const character of text) {
      sink.text(character);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { ...end, text, ...(thinking !== undefined && { thinking }) };
  };
  const { orchestrator } = createTestOrchestrator([engine]);
  listener = await startListener({ orchestrator, settings: { doors: ["openai", "anthropic", "ollama"] } });
});
afterAll(() => listener.close());

describe.each([
  ["openai", 13, 2],
  ["anthropic", 10, 2],
  ["ollama", 13, 2],
  // An agent framework.
  ["pydantic_ai", 1, 1],
] as const)("the Python package %s", (client, checks, cutOff) => {
  const why = missing(client);

  it.skipIf(why !== undefined)(
    `does all that it should${why === undefined ? "" : ` (not here: ${why})`}`,
    async () => {
      const before = abandoned;
      const { port, token } = listener;
      const child = spawn(python, [script, client], {
        env: {
          ...process.env,
          OLLM_URL: `http://127.0.0.1:${port}`,
          OLLM_TOKEN: token,
          PYTHONDONTWRITEBYTECODE: "1",
          NO_PROXY: "127.0.0.1",
        },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let [stdout, stderr] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
      const [code] = (await once(child, "close")) as [number | null];
      expect([code, stderr]).toEqual([0, ""]);
      const lines = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { readonly check: string; readonly error?: string });
      expect(lines.filter(({ error }) => error !== undefined)).toEqual([]);
      // And the connection that breaks.
      expect(lines).toHaveLength(checks + 1);
      // What it cancelled, and what it broke off.
      await expect.poll(() => abandoned - before).toBe(cutOff);
    },
    120_000,
  );
});
