import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BudgetExceeded } from "../../../src/orchestrator/api/errors.ts";
import type { Prices } from "../../../src/orchestrator/api/cost.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { SpendingLedger } from "../../../src/orchestrator/money/spending.ts";
import { type DocumentFiles, createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";

const prices: Prices = { inputPerMillion: 1, outputPerMillion: 1, currency: "USD", date: "2026-11-22" };
/** A million tokens cost a dollar. */
const paid = (monthlyBudget?: number) => ({
  id: "kimi",
  pricesOf: () => prices,
  ...(monthlyBudget === undefined ? {} : { monthlyBudget }),
});
const tokens = (completionTokens: number) => ({ promptTokens: 0, completionTokens });
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const settings = settingsSchema.parse({
  providers: {
    openai: [
      { id: "other", kind: "local", baseUrl: "http://127.0.0.1:1/v1" },
      { id: "kimi", kind: "cloud", baseUrl: "https://api.moonshot.ai/v1" },
    ],
  },
});

function ledger(files: DocumentFiles = createMemoryDocumentFiles(), now = () => Date.parse("2026-11-30T23:59:00Z")) {
  return new SpendingLedger({ files, now, log: silent, settings: () => settings });
}

const outcome = (promise: Promise<unknown>) =>
  promise.then(
    () => "sent",
    (error: unknown) => error,
  );

describe("SpendingLedger", () => {
  it("adds what answers cost, per month in UTC, and keeps it across restarts", async () => {
    const texts = new Map<string, string>();
    let now = Date.parse("2026-11-30T23:59:59Z");
    const first = ledger(createMemoryDocumentFiles(texts), () => now);
    const reserved = await first.reserve(paid(), "k2", tokens(5_000));
    expect(await first.spent(paid(), [])).toEqual([{ month: "2026-11", amount: 0.005, currency: "USD" }]);
    now += 2_000;
    // It was sent in November.
    expect(await reserved?.settle({ promptTokens: 100, completionTokens: 41 }, false)).toEqual({
      cost: { amount: 0.000141, currency: "USD", date: "2026-11-22" },
    });
    await (await first.reserve(paid(), "k2", tokens(9)))?.settle(tokens(7), true);
    expect(await first.spent(paid(), [])).toEqual([{ month: "2026-12", amount: 0.000007, currency: "USD" }]);
    await first.close();

    const second = ledger(createMemoryDocumentFiles(texts), () => Date.parse("2026-11-02T00:00:00Z"));
    expect(await second.spent(paid(10), [])).toEqual([
      { month: "2026-11", amount: 0.000141, currency: "USD", budget: 10 },
    ]);
  });

  it("says nothing of models without prices", async () => {
    const free = { id: "box", pricesOf: () => undefined };
    expect(await ledger().reserve(free, "m", tokens(1))).toBeUndefined();
    expect(await ledger().spent({ id: "ollama" }, [])).toEqual([]);
  });

  it("lets requests that arrive together not exceed the budget together", async () => {
    const spending = ledger();
    const sent = await Promise.all(
      Array.from({ length: 12 }, () => outcome(spending.reserve(paid(0.01), "k2", tokens(3_000)))),
    );
    expect(sent.filter((each) => each === "sent")).toHaveLength(3);
    expect(sent.filter((each) => each instanceof BudgetExceeded)).toHaveLength(9);
  });

  it("gives back what an answer did not cost", async () => {
    const spending = ledger();
    const engine = paid(0.01);
    const big = await spending.reserve(engine, "k2", tokens(10_000));
    expect(await outcome(spending.reserve(engine, "k2", tokens(1)))).toBeInstanceOf(BudgetExceeded);
    await big?.settle(tokens(2_000), false);
    expect(await outcome(spending.reserve(engine, "k2", tokens(8_000)))).toBe("sent");
    const failed = ledger();
    await (await failed.reserve(engine, "k2", tokens(10_000)))?.release();
    expect(await failed.spent(engine, [])).toMatchObject([{ amount: 0, budget: 0.01 }]);
  });

  it("counts a request that a crash interrupted in full", async () => {
    const texts = new Map<string, string>();
    const engine = paid(0.01);
    await ledger(createMemoryDocumentFiles(texts)).reserve(engine, "k2", tokens(6_000));
    // No close: the process was killed.
    const next = ledger(createMemoryDocumentFiles(texts));
    expect(await next.spent(engine, [])).toMatchObject([{ amount: 0.006 }]);
    expect(await outcome(next.reserve(engine, "k2", tokens(5_000)))).toBeInstanceOf(BudgetExceeded);
    expect(await outcome(next.reserve(engine, "k2", tokens(4_000)))).toBe("sent");
  });

  it("names the budget's setting, both amounts, and what else can be done", async () => {
    const error = await outcome(ledger().reserve(paid(0.001), "k2", tokens(2_000)));
    expect(error).toMatchObject({
      message: "k2 on kimi may cost 0.002 USD, and 0.001 USD of this month's budget of 0.001 USD are left",
      next: [
        { step: "askUserToSet", setting: "providers.openai[1].monthlyBudget" },
        { step: "lowerArgument", argument: "maxTokens" },
        { step: "chooseModel", that: "without a budget" },
      ],
    });
  });

  it("warns at 80 %, once in answers, and always in the status", async () => {
    const texts = new Map<string, string>();
    const engine = paid(0.01);
    const spending = ledger(createMemoryDocumentFiles(texts));
    const answer = async (ledgerNow: SpendingLedger, completionTokens: number) =>
      (await ledgerNow.reserve(engine, "k2", tokens(completionTokens)))?.settle(tokens(completionTokens), false);
    expect((await answer(spending, 7_999))?.note).toBeUndefined();
    expect(spending.problems([engine])).toEqual([]);
    expect((await answer(spending, 1))?.note).toBe(
      "kimi: 0.008 USD of its budget of 0.01 USD for 2026-11 are spent (80 %)",
    );
    expect((await answer(spending, 100))?.note).toBeUndefined();
    expect(spending.problems([engine])).toEqual([
      "kimi: 0.0081 USD of its budget of 0.01 USD for 2026-11 are spent (81 %)",
    ]);
    await spending.close();
    const next = ledger(createMemoryDocumentFiles(texts));
    expect((await answer(next, 100))?.note).toBeUndefined();
    expect(next.problems([engine])).toHaveLength(1);
  });

  it("sends nothing to an engine with a budget while the disk is full, and goes on without one", async () => {
    const files = { ...createMemoryDocumentFiles(), append: () => Promise.reject(new Error("ENOSPC: no space left")) };
    const spending = ledger(files);
    const error = await outcome(spending.reserve(paid(10), "k2", tokens(1)));
    expect(error).toBeInstanceOf(BudgetExceeded);
    expect(String(error)).toContain("no space left");
    const bill = await spending.reserve(paid(), "k2", tokens(5));
    expect(await bill?.settle(tokens(3), false)).toMatchObject({ cost: { amount: 0.000003 } });
    // It still counts in this process.
    expect(await spending.spent(paid(), [])).toMatchObject([{ amount: 0.000003 }]);
  });

  it("counts what was charged, also if the disk is full by the end of the answer", async () => {
    const files = createMemoryDocumentFiles();
    let isFull = false;
    const append: DocumentFiles["append"] = (...given) =>
      isFull ? Promise.reject(new Error("ENOSPC: no space left")) : files.append(...given);
    const spending = ledger({ ...files, append });
    const work = () => {
      isFull = true;
      return Promise.resolve({ vectors: [[1]], promptTokens: 250 });
    };
    await spending.embedding(paid(1), "embed", ["one text"], work);
    expect(await spending.spent(paid(1), [])).toMatchObject([{ amount: 0.00025 }]);
  });

  it("sends nothing to an engine with a budget while the sums can't be read", async () => {
    const files = {
      ...createMemoryDocumentFiles(),
      read: () => Promise.reject(new Error("EACCES: permission denied")),
    };
    const spending = ledger(files);
    expect(await outcome(spending.reserve(paid(10), "k2", tokens(1)))).toBeInstanceOf(BudgetExceeded);
    expect(await outcome(spending.reserve(paid(), "k2", tokens(1)))).toBe("sent");
    expect(spending.problems([]).join()).toContain("EACCES");
  });

  it("charges embeddings, and nothing for one that fails", async () => {
    const spending = ledger();
    const work = () => Promise.resolve({ vectors: [[1]], promptTokens: 250 });
    expect(await spending.embedding(paid(1), "embed", ["one text"], work)).toMatchObject({ vectors: [[1]] });
    await outcome(spending.embedding(paid(1), "embed", ["one text"], () => Promise.reject(new Error("down"))));
    expect(await spending.spent(paid(1), [])).toMatchObject([{ amount: 0.00025 }]);
  });

  it("charges no less than was reserved for a count of embedded tokens that is far too low", async () => {
    const spending = ledger();
    const work = () => Promise.resolve({ vectors: [[1]], promptTokens: 0 });
    await spending.embedding(paid(1), "embed", ["word ".repeat(1_000)], work);
    const [spent] = await spending.spent(paid(1), []);
    expect(spent?.amount).toBeGreaterThan(0.001);
  });

  it("keeps sums that can be read again, however large the amounts", async () => {
    const texts = new Map<string, string>();
    const first = ledger(createMemoryDocumentFiles(texts));
    for (let at = 0; at < 3; at += 1) {
      const bill = await first.reserve(paid(), "k2", tokens(1));
      await bill?.settle({ promptTokens: Number.MAX_SAFE_INTEGER, completionTokens: 1e308 }, false);
    }
    await first.close();
    const second = ledger(createMemoryDocumentFiles(texts));
    expect((await second.spent(paid(), []))[0]?.amount).toBe(Number.MAX_SAFE_INTEGER / 1e9);
    expect(second.problems([])).toEqual([]);
  });
});

describe("a damaged spending.json", () => {
  let folder = "";
  const opened: SpendingLedger[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "ollm-spending-"));
  });
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
    await rm(folder, { recursive: true, force: true });
  });
  const november =
    (day = 20) =>
    () =>
      Date.parse(`2026-11-${day}T12:00:00Z`);
  const start = async (now = november()) => {
    const made = ledger(createDocumentFiles(folder), now);
    opened.push(made);
    await made.ready();
    return made;
  };
  const write = (name: string, value: unknown) =>
    writeFile(path.join(folder, name), typeof value === "string" ? value : JSON.stringify(value));
  const row = (engine: string, nanos: number) => ({ engine, month: "2026-11", currency: "USD", nanos });
  const other = { ...paid(10), id: "other" };

  it("counts the rows that can be read, and pays nothing for an engine of one that can't", async () => {
    const months = [row("kimi", 2 ** 60), row("other", 4_000_000_000)];
    await write("spending.json", { schemaVersion: 1, sequence: 1, months, open: [], unknown: [] });
    const spending = await start();
    expect(await spending.spent(other, [])).toMatchObject([{ amount: 4 }]);
    expect(await outcome(spending.reserve(other, "k2", tokens(5_000_000)))).toBe("sent");
    expect(await outcome(spending.reserve(other, "k2", tokens(5_000_000)))).toBeInstanceOf(BudgetExceeded);
    const refused = await outcome(spending.reserve(paid(10), "k2", tokens(1)));
    expect(refused).toBeInstanceOf(BudgetExceeded);
    expect(String(refused)).toContain(
      "k2 on kimi has a monthly budget, and what 2026-11 has cost is not known, since spending.json was damaged",
    );
    // Also after a crash: the file was set aside, and what it lacks is written.
    const again = await start();
    expect(await outcome(again.reserve(paid(10), "k2", tokens(1)))).toBeInstanceOf(BudgetExceeded);
    expect(again.problems([paid(10), other]).join()).toContain("kimi has a monthly budget, and what 2026-11 has cost");
    expect((await readdir(folder)).some((name) => name.startsWith("spending.json.broken-"))).toBe(true);
    // Without a budget nothing has to be known, and the next month is one.
    expect(await outcome(again.reserve(paid(), "k2", tokens(1)))).toBe("sent");
    const december = await start(() => Date.parse("2026-12-01T00:00:01Z"));
    expect(await outcome(december.reserve(paid(10), "k2", tokens(1)))).toBe("sent");
  });

  it.each([
    ["no JSON", '{"schemaVersion":1,"sequence":3,"months":[{"engine":"ki'],
    ["empty", ""],
    ["of another form", { schemaVersion: 1, sequence: 3, months: "none" }],
    ["of a newer version", { schemaVersion: 2, sequence: 3, months: [], open: [] }],
  ])("pays for nothing with a budget this month if it is %s", async (_what, value) => {
    await write("spending.json", value);
    for (const spending of [await start(), await start()]) {
      expect(await outcome(spending.reserve(paid(10), "k2", tokens(1)))).toBeInstanceOf(BudgetExceeded);
      expect(await outcome(spending.reserve(other, "k2", tokens(1)))).toBeInstanceOf(BudgetExceeded);
    }
  });

  it("keeps the lines of its journal behind a damaged one, whose engine is not paid", async () => {
    const settle = (n: number, engine: string, nanos: number) =>
      `${JSON.stringify({ v: 1, n, event: { type: "settle", id: `id${n}`, ...row(engine, nanos) } })}\n`;
    await write("spending.journal", settle(1, "other", 1e9) + settle(2, "kimi", 0.5) + settle(3, "other", 2e9));
    for (const spending of [await start(), await start()]) {
      expect(await spending.spent(other, [])).toMatchObject([{ amount: 3 }]);
      expect(await outcome(spending.reserve(other, "k2", tokens(1)))).toBe("sent");
      expect(await outcome(spending.reserve(paid(10), "k2", tokens(1)))).toBeInstanceOf(BudgetExceeded);
      await spending.close();
    }
  });
});
