import type { MoneyTally } from "../../../src/orchestrator/api/cost.ts";
import { afterEach, describe, expect, it } from "vitest";
import { moneyCsv, renderMoney, renderRequests, renderStats, requestsCsv } from "../../../src/cli/commands/stats.ts";
import type { ResourceData } from "../../../src/resources/index.ts";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { createFakeMetrics } from "../../support/fake-metrics.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
import { type MemoryClient, connectMemoryClient } from "../../support/memory-client.ts";
import { silentIo } from "../../support/silent-io.ts";

let connection: MemoryClient | undefined;
afterEach(async () => connection?.close());

const nowMs = Date.parse("2026-11-23T12:00:00Z");
const wide = { ...silentIo, columns: 80 };
const narrow = { ...silentIo, columns: 50 };

async function readRequests(): Promise<Parameters<typeof renderRequests>[0]> {
  connection = await connectMemoryClient(createFakeOrchestrator({ metrics: createFakeMetrics() }));
  const { contents } = await connection.client.readResource({ uri: "ollm://requests" });
  const [content] = contents;
  return JSON.parse(content !== undefined && "text" in content ? content.text : "") as never;
}

async function read(counted?: readonly MoneyTally[]): Promise<ResourceData["ollm://metrics"]> {
  connection = await connectMemoryClient(
    createFakeOrchestrator({ metrics: createFakeMetrics("smollm2:135m", counted) }),
  );
  const { contents } = await connection.client.readResource({ uri: "ollm://metrics" });
  const [content] = contents;
  return JSON.parse(content !== undefined && "text" in content ? content.text : "") as ResourceData["ollm://metrics"];
}

describe("ollm stats", () => {
  it("shows totals, models, memory, unloads and advice", async () => {
    expect(renderStats(await read(), wide, nowMs)).toMatchInlineSnapshot(`
      "requests     10 since 2026-11-01: 8 answered, 1 failed, 1 cancelled, 1 fell back
                   to another model
      success      88 %
                   1 × load failed
      first token  120 ms, p95 800 ms
      request      1.5 s, p95 6.0 s
      queue        1 ms, p95 20 ms
      load         2.0 s, p95 2.0 s
      tokens       120.0 k read (20.0 k of them from a cache), 4.0 k written, 42 per
                   second
      memory       ▃▅█ llama family 4.0 GB; at most 4.0 GB
      saved        0.27 USD this month (124.0 k local tokens at some-model prices,
                   less what assistants read and 0.012 USD paid): ollm stats --money

      MODEL         REQUESTS    OK    P50    P95     READ  WRITTEN  TOK/S  BY DAY
      smollm2:135m        10  88 %  1.5 s  6.0 s  120.0 k    4.0 k     42  ▃▁▅█

      unloaded  smollm2:135m: 3 × to make room
      ! smollm2:135m was not used for 40 days. Let the user run \`ollm tidy\`, which
        lists them and asks before it deletes any.
      "
    `);
  });

  it("fits a narrow terminal, and uses ASCII where blocks can't be shown", async () => {
    const text = renderStats(await read(), { ...narrow, environment: { LANG: "C" } }, nowMs);
    expect(text).toMatchInlineSnapshot(`
      "requests     10 since 2026-11-01: 8 answered, 1
                   failed, 1 cancelled, 1 fell back to
                   another model
      success      88 %
                   1 × load failed
      first token  120 ms, p95 800 ms
      request      1.5 s, p95 6.0 s
      queue        1 ms, p95 20 ms
      load         2.0 s, p95 2.0 s
      tokens       120.0 k read (20.0 k of them from a
                   cache), 4.0 k written, 42 per second
      memory       :=# llama family 4.0 GB; at most 4.0
                   GB
      saved        0.27 USD this month (124.0 k local
                   tokens at some-model prices, less
                   what assistants read and 0.012 USD
                   paid): ollm stats --money

      MODEL         REQUESTS    OK    P50    P95  BY DAY
      smollm2:135m        10  88 %  1.5 s  6.0 s  :_=#

      unloaded  smollm2:135m: 3 × to make room
      ! smollm2:135m was not used for 40 days. Let the
        user run \`ollm tidy\`, which lists them and asks
        before it deletes any.
      "
    `);
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(50);
  });
});

describe("ollm stats --money", () => {
  it("shows sums by day, month, task and client, with the formula", async () => {
    expect(renderMoney((await read()).money, wide)).toMatchInlineSnapshot(`
      "today  0.038 USD; 21.0 k local tokens; 0.05 USD less 0.012 USD paid; 0.5 CNY
             paid is not subtracted: another currency
      month  0.27 USD; 124.0 k local tokens; 0.28 USD less 0.012 USD paid; 0.5 CNY
             paid is not subtracted: another currency
      total  0.27 USD; 124.0 k local tokens; 0.28 USD less 0.012 USD paid; 0.5 CNY
             paid is not subtracted: another currency
      files  90.0 k tokens read here this month, never sent; not part of these sums

      TASK           LOCAL TOKENS      TODAY      MONTH      TOTAL
      summarization       103.0 k      0 USD   0.23 USD   0.23 USD
      code                 21.0 k  0.038 USD  0.038 USD  0.038 USD

      CLIENT              LOCAL TOKENS      TODAY      MONTH      TOTAL
      claude-code              103.0 k      0 USD   0.23 USD   0.23 USD
      =cmd|' /C calc'!A0        21.0 k  0.038 USD  0.038 USD  0.038 USD

      saved = (local prompt tokens × 2 USD + local answer tokens × 10 USD - tokens of
      answers that assistants read × 2 USD) ÷ 1,000,000 - what paid engines charged in
      USD; comparisons save nothing. List prices of some-model on 2026-11-01; another
      price applies to all days. Days and months are those of this machine's time
      zone.
      All rows: ollm stats --money --csv (or --json)
      "
    `);
  });

  it("fits a narrow terminal", async () => {
    const text = renderMoney((await read()).money, narrow);
    expect(text).toMatchInlineSnapshot(`
      "today  0.038 USD; 21.0 k local tokens; 0.05 USD
             less 0.012 USD paid; 0.5 CNY paid is not
             subtracted: another currency
      month  0.27 USD; 124.0 k local tokens; 0.28 USD
             less 0.012 USD paid; 0.5 CNY paid is not
             subtracted: another currency
      total  0.27 USD; 124.0 k local tokens; 0.28 USD
             less 0.012 USD paid; 0.5 CNY paid is not
             subtracted: another currency
      files  90.0 k tokens read here this month, never
             sent; not part of these sums

      TASK               TODAY      MONTH      TOTAL
      summarization      0 USD   0.23 USD   0.23 USD
      code           0.038 USD  0.038 USD  0.038 USD

      CLIENT                  MONTH      TOTAL
      claude-code          0.23 USD   0.23 USD
      =cmd|' /C calc'!A0  0.038 USD  0.038 USD

      saved = (local prompt tokens × 2 USD + local
      answer tokens × 10 USD - tokens of answers that
      assistants read × 2 USD) ÷ 1,000,000 - what paid
      engines charged in USD; comparisons save nothing.
      List prices of some-model on 2026-11-01; another
      price applies to all days. Days and months are
      those of this machine's time zone.
      All rows: ollm stats --money --csv (or --json)
      "
    `);
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(50);
  });

  it("says what to do while nothing is saved", async () => {
    expect(renderMoney((await read([])).money, wide)).toBe(
      'No tokens of local models are counted yet. To begin, ask a local model:\n  ollm run "Hello"\n',
    );
  });

  it("prints rows as CSV, in which no name is a formula", async () => {
    const { money } = await read();
    expect(moneyCsv(money)).toMatchInlineSnapshot(`
      "day,from,task,client,kind,tokens,price_per_million,amount,currency
      2026-11-01,2026-11-01T00:00:00.000Z,summarization,claude-code,prompt,100000,2,0.2,USD
      2026-11-01,2026-11-01T00:00:00.000Z,summarization,claude-code,answer,3000,10,0.03,USD
      2026-11-23,2026-11-23T00:00:00.000Z,code,'=cmd|' /C calc'!A0,prompt,20000,2,0.04,USD
      2026-11-23,2026-11-23T00:00:00.000Z,code,'=cmd|' /C calc'!A0,answer,1000,10,0.01,USD
      2026-11-23,2026-11-23T00:00:00.000Z,code,'=cmd|' /C calc'!A0,cloud,2000,6.172839,-0.012345678,USD
      2026-11-23,2026-11-23T00:00:00.000Z,code,'=cmd|' /C calc'!A0,cloud,900,555.555556,-0.5,CNY
      "
    `);
  });

  it("has rows from which a user recomputes the month to the last digit", async () => {
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
    const counted = Array.from({ length: 300 }, (_, index) => ({
      day: `2026-${index % 3 === 0 ? "10" : "11"}-${String((index % 23) + 1).padStart(2, "0")}`,
      task: ["code", "summarization", "general"][index % 3] ?? "",
      client: `client ${index}, "with" quotes`,
      promptTokens: random(900_001),
      completionTokens: random(9_001),
      fileTokens: random(800_001),
      paid: index % 5 === 0 ? [{ currency: "USD", tokens: random(1_000), nanos: random(90_000_001) }] : [],
    }));
    const { money } = await read(counted);
    // As in a spreadsheet: only the exported text is used, with decimal arithmetic.
    const [head = [], ...rows] = csvRows(moneyCsv(money));
    const cell = (row: readonly string[], name: string): string => row[head.indexOf(name)] ?? "";
    const month = rows.filter((row) => cell(row, "day").startsWith("2026-11"));
    expect(month.length).toBeGreaterThan(400);
    const fromTokens = month.reduce(
      (sum, row) =>
        sum +
        (cell(row, "kind") === "cloud"
          ? billionths(cell(row, "amount")) * 1_000_000n
          : BigInt(cell(row, "tokens")) * billionths(cell(row, "price_per_million"))),
      0n,
    );
    const fromAmounts = month.reduce((sum, row) => sum + billionths(cell(row, "amount")), 0n);
    expect(fromAmounts).toBe(billionths(money.month.total.toFixed(9)));
    expect(fromTokens).toBe(fromAmounts * 1_000_000n);
  });
});

/** An own reader of RFC 4180. */
function csvRows(text: string): readonly (readonly string[])[] {
  expect(text.endsWith("\r\n")).toBe(true);
  return text
    .slice(0, -2)
    .split("\r\n")
    .map((line) =>
      [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"]*))/g)].map(
        ([, quoted, plain = ""]) => quoted?.replaceAll('""', '"') ?? plain,
      ),
    );
}

function billionths(decimal: string): bigint {
  const [whole = "0", fraction = ""] = decimal.replace("-", "").split(".");
  const value = BigInt(whole + fraction.padEnd(9, "0"));
  return decimal.startsWith("-") ? -value : value;
}

describe("ollm stats --requests", () => {
  it("shows a line for each, newest first, and how to see older ones", async () => {
    const page = await readRequests();
    // Wherever this runs, and as wide.
    const shown = (columns: number) =>
      renderRequests(page, { ...silentIo, columns }).replaceAll(/2026-11-2\d \d\d:\d\d/g, "2026-11-23 local");
    expect(shown(120)).toMatchInlineSnapshot(`
      "TIME              CLIENT              TASK     MODEL         OUTCOME                FIRST  TOTAL  TOKENS        COST
      2026-11-23 local  claude-code         code     smollm2:135m  answered              120 ms  1.5 s   1.2 k  0.0021 USD
      2026-11-23 local  =cmd|' /C calc'!A0  general                failed:unknown_model           2 ms       0
      2 of 2 requests; for older ones add before=r-1 to the filter
      "
    `);
    expect(shown(50)).toMatchInlineSnapshot(`
      "TIME              MODEL         OUTCOME
      2026-11-23 local  smollm2:135m  answered
      2026-11-23 local                failed:unknown_mo…
      2 of 2 requests; for older ones add before=r-1 to
      the filter
      "
    `);
    expect(renderRequests({ requests: [], total: 0 }, wide)).toMatchInlineSnapshot(`
      "No request is kept that matches. To begin, ask a local model:
        ollm run "Hello"
      "
    `);
  });

  it("shows a line for each group", async () => {
    const engine = createFakeEngine("ollama", [fakeModel("a:1b", 1e9)]);
    const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
    for (const client of ["cursor", "cursor", "=1+1"])
      await generate({ model: "a:1b", task: "code" }, caller({ client }));
    await generate({ model: "b", task: "code" }, caller({ client: "cursor" })).catch(() => undefined);
    connection = await connectMemoryClient(orchestrator);
    const { contents } = await connection.client.readResource({ uri: "ollm://requests?by=model,client" });
    const [content] = contents;
    const page = JSON.parse(content !== undefined && "text" in content ? content.text : "") as Parameters<
      typeof renderRequests
    >[0];
    const text = renderRequests(page, { ...silentIo, columns: 120 });
    expect(text.split("\n").map((line) => line.split(/ {2,}/).slice(0, 3).join("|"))).toEqual([
      "GROUP|REQUESTS|OK",
      "a:1b, cursor|2|100 %",
      "none, cursor|1|0 %",
      "a:1b, =1+1|1|100 %",
      "3 of 3 groups, 4 requests; --json has all figures",
      "",
    ]);
    await orchestrator.close();
  });

  it("prints CSV whose names are no formulas", async () => {
    expect(requestsCsv(await readRequests())).toMatchInlineSnapshot(`
      "id,started_at,client,task,profile,model,engine,via,outcome,reason,queue_ms,load_ms,first_token_ms,total_ms,prompt_tokens,cached_prompt_tokens,completion_tokens,tokens_per_second,trace,cost,cost_currency,saved,saved_currency
      r-2,2026-11-23T11:59:00.000Z,claude-code,code,code,smollm2:135m,ollama,door,answered,"loaded, fits code profile",5,0,120,1500,1200,200,40,41.5,,0.0021,USD,,
      r-1,2026-11-23T11:00:00.000Z,'=cmd|' /C calc'!A0,general,,,,,failed:unknown_model,,0,0,,2,0,0,0,,,,,,
      "
    `);
  });
});
