import { afterEach, expect, it } from "vitest";
import { moneyReport } from "../../src/orchestrator/views/savings.ts";
import { createFakeMetrics } from "../support/fake-metrics.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";

let connection: MemoryClient;
afterEach(async () => connection.close());

async function read(): Promise<unknown> {
  connection = await connectMemoryClient(createFakeOrchestrator({ metrics: createFakeMetrics() }));
  const { contents } = await connection.client.readResource({ uri: "ollm://metrics" });
  const [content] = contents;
  return JSON.parse(content !== undefined && "text" in content ? content.text : "");
}

it("has figures by name, memory, advice, and money with its rows", async () => {
  const data = await read();
  expect(data).toMatchObject({
    total: { requests: 10, answered: 8, failed: 1, first_token_ms: { p50: 120, p95: 800 }, prompt_tokens: 120_000 },
    by: { model: [{ name: "smollm2:135m", history: [1, 0, 3, 6], tokens_per_second: 41.5 }] },
    evictions: [{ model: "smollm2:135m", kind: "load", count: 3 }],
    memory: [{ model_bytes: 1e9, by_type: { llama: 1e9 } }, {}, {}],
    advice: [{ kind: "unused", bytes: 1e9 }],
  });

  const { money } = data as { money: { rows: object[] } };
  expect({ ...money, rows: money.rows.slice(-1) }).toMatchInlineSnapshot(`
    {
      "currency": "USD",
      "formula": "saved = (local prompt tokens × 2 USD + local answer tokens × 10 USD - tokens of answers that assistants read × 2 USD) ÷ 1,000,000 - what paid engines charged in USD; comparisons save nothing. List prices of some-model on 2026-11-01; another price applies to all days. Days and months are those of this machine's time zone.",
      "month": {
        "local_tokens": 124000,
        "never_sent_tokens": 90000,
        "other_spent": [
          {
            "amount": 0.5,
            "currency": "CNY",
          },
        ],
        "read_tokens": 0,
        "saved": 0.28,
        "spent": 0.012345678,
        "total": 0.267654322,
      },
      "reference": {
        "answer_per_million": 10,
        "as_of": "2026-11-01",
        "model": "some-model",
        "prompt_per_million": 2,
      },
      "rows": [
        {
          "amount": -0.5,
          "client": "=cmd|' /C calc'!A0",
          "currency": "CNY",
          "day": "2026-11-23",
          "kind": "cloud",
          "price_per_million": 555.555556,
          "task": "code",
          "tokens": 900,
        },
      ],
      "today": {
        "day": "2026-11-23",
        "from": "2026-11-23T00:00:00.000Z",
        "local_tokens": 21000,
        "never_sent_tokens": 0,
        "other_spent": [
          {
            "amount": 0.5,
            "currency": "CNY",
          },
        ],
        "read_tokens": 0,
        "saved": 0.05,
        "spent": 0.012345678,
        "total": 0.037654322,
      },
      "total": {
        "local_tokens": 124000,
        "never_sent_tokens": 90000,
        "other_spent": [
          {
            "amount": 0.5,
            "currency": "CNY",
          },
        ],
        "read_tokens": 0,
        "saved": 0.28,
        "spent": 0.012345678,
        "total": 0.267654322,
      },
    }
  `);
});

it("stays within bounds, and has the newest of what is more", async () => {
  const fake = createFakeMetrics();
  const metrics: typeof fake = {
    ...fake,
    async report(caller) {
      const report = await fake.report(caller);
      const [day] = report.by.day;
      const [sample] = report.memory;
      if (day === undefined || sample === undefined) throw new Error("the fake has one of each");
      return {
        ...report,
        by: { ...report.by, day: Array.from({ length: 400 }, (_, at) => ({ ...day, name: `day ${at}` })) },
        memory: Array.from({ length: 2_032 }, (_, at) => ({ ...sample, modelBytes: at })),
      };
    },
    async money(caller) {
      const money = await fake.money(caller);
      const counts = Array.from({ length: 20_000 }, (_, at) => ({
        day: new Date(Date.UTC(2025, 10, 1 + Math.floor(at / 50))).toISOString().slice(0, 10),
        task: `task-${at % 25}`,
        client: `client ${at % 50}`.padEnd(100, "."),
        promptTokens: 123_457 + at,
        completionTokens: 7,
        fileTokens: 1,
        paid: [],
      }));
      const reference = { ...money.reference, currency: money.currency };
      return moneyReport(counts, reference, Date.parse("2026-11-23T12:00:00Z"));
    },
  };
  connection = await connectMemoryClient(createFakeOrchestrator({ metrics }));
  const { contents } = await connection.client.readResource({ uri: "ollm://metrics" });
  const text = contents[0] !== undefined && "text" in contents[0] ? contents[0].text : "";
  expect(text.length).toBeLessThan(1_000_000);
  const { by, memory, money } = JSON.parse(text) as {
    by: { day: { name: string }[] };
    memory: { model_bytes: number }[];
    money: { rows: { amount: number; day: string }[] } & Record<"month" | "total", { total: number }>;
  };
  expect([by.day.length, by.day.at(-1)?.name]).toEqual([100, "day 399"]);
  expect(memory.length).toBeGreaterThan(250);
  expect(memory.length).toBeLessThanOrEqual(300);
  expect(memory.at(-1)?.model_bytes).toBe(2_031);
  // Its rows have all of the sums.
  const sumOf = (prefix: string): number =>
    money.rows.reduce((sum, { day, amount }) => sum + (day.startsWith(prefix) ? Math.round(amount * 1e9) : 0), 0) / 1e9;
  expect(money.rows.length).toBeLessThanOrEqual(4_000);
  expect([sumOf(""), sumOf("2026-11")]).toEqual([money.total.total, money.month.total]);
});
