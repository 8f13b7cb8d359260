import { afterEach, expect, it } from "vitest";
import { matchResource } from "../../src/resources/definition.ts";
import { resources } from "../../src/resources/index.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createFakeMetrics } from "../support/fake-metrics.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

let connection: MemoryClient;
afterEach(async () => connection.close());

interface Page {
  readonly requests: readonly { readonly id: string; readonly client: string; readonly model: string }[];
  readonly total: number;
  readonly before?: string;
}

async function read(query: string): Promise<Page> {
  const { contents } = await connection.client.readResource({ uri: `ollm://requests${query}` });
  const [content] = contents;
  return JSON.parse(content !== undefined && "text" in content ? content.text : "") as Page;
}

it("has a page of lines with the names that outputs have, and the cursor of the next", async () => {
  connection = await connectMemoryClient(createFakeOrchestrator({ metrics: createFakeMetrics() }));
  const page = await read("?limit=1");
  expect(page).toMatchInlineSnapshot(`
    {
      "before": "r-1",
      "requests": [
        {
          "attempts": [
            {
              "count": 1,
              "engine": "ollama",
              "error": "load_failed",
              "model": "other:1b",
            },
            {
              "count": 1,
              "engine": "ollama",
              "model": "smollm2:135m",
            },
          ],
          "cached_prompt_tokens": 200,
          "client": "claude-code",
          "completion_tokens": 40,
          "cost": [
            {
              "amount": 0.0021,
              "currency": "USD",
            },
          ],
          "engine": "ollama",
          "first_token_ms": 120,
          "id": "r-2",
          "load_ms": 0,
          "model": "smollm2:135m",
          "outcome": "answered",
          "profile": "code",
          "prompt_tokens": 1200,
          "queue_ms": 5,
          "reason": "loaded, fits code profile",
          "started_at": "2026-11-23T11:59:00.000Z",
          "task": "code",
          "tokens_per_second": 41.5,
          "total_ms": 1500,
          "via": "door",
        },
      ],
      "total": 2,
    }
  `);
});

it("filters by all that a query names, and gives older pages by the cursor", async () => {
  const engine = createFakeEngine("ollama", [fakeModel("a+b:1b", gigabyte), fakeModel("c:1b", gigabyte)]);
  const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
  for (const [model, client] of [
    ["a+b:1b", "cursor"],
    ["c:1b", "a & b"],
    ["a+b:1b", "a & b"],
    ["a+b:1b", "a & b"],
    ["none", "a & b"],
  ] as const)
    await generate({ model, task: "code" }, caller({ client })).catch(() => undefined);
  connection = await connectMemoryClient(orchestrator);
  const all = await read("");
  expect([all.total, all.requests.map(({ model }) => model)]).toEqual([5, ["", "a+b:1b", "a+b:1b", "c:1b", "a+b:1b"]]);
  const named = { model: "a+b:1b", client: "a & b", task: "code", outcome: "answered", limit: "1" };
  const filter = `?${new URLSearchParams(named).toString()}`;
  const newest = await read(filter);
  expect([newest.total, newest.requests.map(({ id }) => id)]).toEqual([2, [all.requests[1]?.id]]);
  const older = await read(`${filter}&before=${newest.before}`);
  expect([older.requests.map(({ id }) => id), older.before]).toEqual([[all.requests[2]?.id], undefined]);
  expect((await read("?outcome=failed:unknown_model")).total).toBe(1);
  expect(await read("?by=client,task&outcome=answered")).toMatchObject({
    groups: [
      { client: "a & b", task: "code", requests: 3, answered: 3, total_ms: { count: 3 } },
      { client: "cursor", task: "code", requests: 1 },
    ],
    group_total: 2,
  });
  expect((await read("?to=1960-01-01")).total).toBe(0);
  expect((await read("?from=1960-01-01T00:00Z")).total).toBe(5);
  await orchestrator.close();
});

it.each([
  ["?engine=a", 'there is no filter "engine"'],
  ["?by=model,engines", "by takes model, engine, profile, client, task, day, hour, minute"],
  ["?limit=0", "limit must be from 1 to 1000"],
  ["?limit=many", "limit must be from 1 to 1000"],
  ["?from=yesterday", "from must be a time"],
])("says what is wrong with %s", async (query, problem) => {
  connection = await connectMemoryClient(createFakeOrchestrator({ metrics: createFakeMetrics() }));
  await expect(read(query)).rejects.toMatchObject({
    code: -32_602,
    message: expect.stringContaining(problem) as string,
  });
});

it("is matched by its address alone or with a query, and read again when a request ended", () => {
  const found = matchResource(resources, "ollm://requests?client=a%20b&limit=5");
  expect(found?.variables).toEqual({ client: "a b", limit: "5" });
  expect(found?.definition.isTouchedBy?.({ kind: "requests" }, {})).toBe(true);
  expect(matchResource(resources, "ollm://requests")?.variables).toEqual({});
  expect(matchResource(resources, "ollm://requestsx")).toBeUndefined();
});
