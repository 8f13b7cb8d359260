import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CardFailed } from "../../../../src/orchestrator/api/errors.ts";
import { createLog } from "../../../../src/orchestrator/api/log.ts";
import type { EstimateRequest, LoadRequest } from "../../../../src/orchestrator/engines/llama-cpp/child/protocol.ts";
import type { ChildSession } from "../../../../src/orchestrator/engines/llama-cpp/child-session.ts";
import { createEstimator } from "../../../../src/orchestrator/engines/llama-cpp/estimator.ts";
import { never } from "./engine-under-test.ts";

const load = {
  file: "/w.gguf",
  useMmap: false,
  contextTokens: 2_048,
  batchTokens: 128,
  isEmbedding: false,
  guessBytes: 7,
};
let folder = "";
let file = "";
let simulations = 0;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-estimates-"));
  file = join(folder, "cache", "estimates.json");
  simulations = 0;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** That of a daemon that starts; with `cards`, on a machine with cards, which start or don't. */
function start(cards?: "work" | "fail") {
  const session = {
    pid: 0,
    stop: async () => {},
    async call({ contextTokens, isForCards }: EstimateRequest) {
      simulations += 1;
      const contextBytes = 1_000 * contextTokens;
      const smallest = { smallestContextBytes: 256_000, smallestContextTokens: 256 };
      return { weightsBytes: 5_000_000, contextBytes, ...smallest, ...(isForCards === true && { byLayers: [] }) };
    },
  };
  const { estimate } = createEstimator({
    async open(_signal, usesCards) {
      if (usesCards && cards === "fail") throw new CardFailed("full");
      return session as unknown as ChildSession;
    },
    mayUseCards: () => cards !== undefined,
    now: Date.now,
    log: createLog("warn", () => {}),
    file,
  });
  return (digest: string, more: Partial<LoadRequest> = {}) =>
    estimate(digest, { ...load, ...more } as LoadRequest, never);
}

describe("what was simulated", () => {
  it("is known to the next daemon, for the same weights and options", async () => {
    const first = await start()("sha256:a");
    expect(first?.predictedBytes).toBeGreaterThan(7_000_000);
    expect(await start()("sha256:a")).toEqual(first);
    expect(simulations).toBe(1);
    const again = start();
    for (const [digest, more] of [
      ["sha256:b", {}],
      ["sha256:a", { contextTokens: 4_096 }],
      ["sha256:a", { useMmap: true }],
    ] as const)
      await again(digest, more);
    expect(simulations).toBe(4);
  });
  it.each([
    ["is damaged", (text: string) => text.slice(0, -9)],
    ["is of another machine", (text: string) => text.replace(process.version, "v0")],
    ["is of another form", (text: string) => text.replace("weightsBytes", "weights")],
  ])("is simulated again if the file %s", async (_, change) => {
    const first = await start()("sha256:a");
    await writeFile(file, change(await readFile(file, "utf8")));
    expect(await start()("sha256:a")).toEqual(first);
    expect(simulations).toBe(2);
    await start()("sha256:a");
    expect(simulations).toBe(2);
  });
  it("is simulated again if it can't be written", async () => {
    await mkdir(file, { recursive: true });
    const first = await start()("sha256:a");
    expect(await start()("sha256:a")).toEqual(first);
    expect(simulations).toBe(2);
  });
  it("is not kept for cards, whose drivers change", async () => {
    await start("work")("sha256:a");
    await start("work")("sha256:a");
    expect(simulations).toBe(2);
  });
  it("is not taken for that with the cards if they failed", async () => {
    expect((await start("fail")("sha256:a"))?.byLayers).toBeUndefined();
    expect((await start("work")("sha256:a"))?.byLayers).toEqual([]);
    await start()("sha256:a");
    expect(simulations).toBe(2);
  });
});
