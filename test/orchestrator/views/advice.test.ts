import { describe, expect, it } from "vitest";
import { adviceOf, unusedModels } from "../../../src/orchestrator/views/metrics.ts";

type OwnModel = Parameters<typeof adviceOf>[0]["models"][number];

type AdviceFacts = Parameters<typeof adviceOf>[0];

const day = 86_400_000;
const nowMs = 400 * day;

function model(name: string, change: Partial<OwnModel> = {}): OwnModel {
  return { name, engine: "ollama", sizeBytes: 1e9, installedMs: 10 * day, isInUse: false, ...change };
}

function facts(models: readonly OwnModel[], change: Partial<AdviceFacts> = {}): AdviceFacts {
  return { nowMs, sinceMs: 300 * day, models: [...models], connections: [], ...change };
}

const context = { tokens: 32_768, usedTokens: 3_100, requests: 40, enoughTokens: 4_096, savedBytes: 3.2e9 };

describe("unused models", () => {
  it("are those without a use since the installation, the last use and the begin of counting", () => {
    const models = [
      model("used:1b", { lastUsedMs: nowMs - 40 * day }),
      model("never:1b", { sizeBytes: 3e9 }),
      model("new:1b", { installedMs: nowMs - 5 * day }),
      model("pulled-again:1b", { installedMs: nowMs - 2 * day, lastUsedMs: nowMs - 90 * day }),
      model("today:1b", { lastUsedMs: nowMs - 60_000 }),
      model("pinned:1b", { isInUse: true }),
    ];
    expect(unusedModels(facts(models)).map(({ name, unusedDays }) => [name, unusedDays])).toEqual([
      ["never:1b", 100],
      ["new:1b", 5],
      ["pulled-again:1b", 2],
      ["used:1b", 40],
    ]);
  });

  it("are none while uses were not counted for long: what was used before is unknown", () => {
    expect(adviceOf(facts([model("old:1b")], { sinceMs: nowMs - 29 * day }))).toEqual([]);
  });

  it("are one piece of advice with the disk that they take", () => {
    const models = ["a", "b", "c", "d"].map((name) => model(`${name}:1b`, { lastUsedMs: nowMs - 31 * day }));
    expect(adviceOf(facts([...models, model("e:1b", { lastUsedMs: nowMs - 29 * day })]))).toEqual([
      {
        kind: "unused",
        subject: "a:1b",
        text: "4 models were not used for 30 days and take 4.0 GB on disk: a:1b, b:1b, c:1b, 1 more",
        next: { step: "tidyModels" },
        bytes: 4e9,
      },
    ]);
  });
});

describe("advice", () => {
  const inUse = { isInUse: true };

  it.each<readonly [string, AdviceFacts, string, object]>([
    [
      "models that never fit",
      facts([model("a:70b", { ...inUse, sizeBytes: 40e9, load: { neededBytes: 45e9, capacityBytes: 16e9 } })]),
      "a:70b does not fit on this machine, even with nothing else loaded: it needs 45.0 GB, and models may use 16.0 GB",
      { step: "deleteModel", model: "a:70b" },
    ],
    [
      "contexts larger than ever used",
      facts([model("a:7b", { ...inUse, context })]),
      "a:7b is loaded with a context of 32768 tokens, and its largest of 40 requests took 3100: 4096 would free 3.2 GB of memory",
      { step: "changeSetting", setting: 'models["a:7b"].contextTokens', to: "4096" },
    ],
    [
      "too few connections",
      facts([], { connections: [{ engine: "ollama", limit: 10, most: 14 }] }),
      "ollama had up to 14 short calls at once for 10 connections: 4 had to wait",
      { step: "advice", text: "raise the number of connections in the settings of this engine" },
    ],
  ])("names %s with its numbers and a next step", (_what, given, text, next) => {
    expect(adviceOf(given)).toEqual([expect.objectContaining({ text, next })]);
  });

  it.each<readonly [string, AdviceFacts]>([
    ["fits", facts([model("a:7b", { ...inUse, load: { neededBytes: 16e9, capacityBytes: 16e9 } })])],
    ["has few requests", facts([model("a:7b", { ...inUse, context: { ...context, requests: 19 } })])],
    ["would save little", facts([model("a:7b", { ...inUse, context: { ...context, savedBytes: 2e8 } })])],
    ["needs its context", facts([model("a:7b", { ...inUse, context: { ...context, enoughTokens: 32_768 } })])],
    ["has enough connections", facts([], { connections: [{ engine: "ollama", limit: 10, most: 10 }] })],
  ])("says nothing of what %s", (_what, given) => {
    expect(adviceOf(given)).toEqual([]);
  });
});
