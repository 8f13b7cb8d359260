import { describe, expect, it } from "vitest";
import type { GenerateResult } from "../../src/orchestrator/api/facade.ts";
import type { View, Caller } from "../../src/server/call/caller.ts";
import { callTool } from "../../src/server/call/pipeline.ts";
import { routeAndGenerate } from "../../src/tools/route-and-generate.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../support/fake-orchestrator.ts";
import { handClock } from "../support/hand-clock.ts";
import { plainSettings } from "../support/caller-settings.ts";

describe("a client that listens to progress", () => {
  it("hears something every five seconds, while the orchestrator opens and while the model is silent", async () => {
    const clock = handClock();
    const operation = drivenOperation<GenerateResult>();
    const orchestrator = createFakeOrchestrator({ generate: async () => operation });
    let open: (home: View) => void = () => undefined;
    const opened = new Promise<View>((resolve) => (open = resolve));
    const parts: Caller = {
      version: "0.0.0-test",
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined },
      id: "1",
      mayOfferRoots: false,
      homeDirectory: "/nonexistent",
      open: () => opened,
    };
    const heard: { atMs: number; message: string; progress: number }[] = [];
    const { signal } = new AbortController();
    const call = callTool(
      routeAndGenerate,
      { prompt: "Hi" },
      {
        client: "claude-code",
        clientVersion: undefined,
        signal,
        requestSignal: signal,
        isModern: true,
        trace: undefined,
        takesTasks: false,
        showsViews: false,
        wantsErrorData: false,
        wantsText: false,
        isChat: false,
        wantsDetails: false,
        canAsk: false,
        askNow: undefined,
        inputResponses: undefined,
        notifyProgress: ({ message, progress }) => void heard.push({ atMs: clock.now(), message, progress }),
        clientRoots: async () => [],
      },
      parts,
      clock,
    );
    clock.advance(12_000);
    expect(heard.map(({ atMs }) => atMs)).toEqual([5_000, 10_000]);
    open({
      orchestrator,
      callerSettings: plainSettings,
      fileRoots: [],
      warnings: [],
      configFile: "/config.yaml",
    });
    await expect.poll(() => operation.followers()).toBe(1);
    operation.report({ message: "waiting for smollm2:135m, which answers others first" });
    clock.advance(3_600_000);
    const gaps = heard.slice(1).map(({ atMs }, index) => atMs - (heard[index]?.atMs ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(5_000);
    expect(heard.at(-1)).toMatchObject({ message: "waiting for smollm2:135m, which answers others first" });
    expect(heard.every(({ progress }, index) => progress > (heard[index - 1]?.progress ?? 0))).toBe(true);
    operation.succeed(generated);
    expect(await call).toMatchObject({ structuredContent: { text: generated.text } });
    expect(clock.waiting).toBe(0);
  });
});
