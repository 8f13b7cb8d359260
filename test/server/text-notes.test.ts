import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GenerateResult } from "../../src/orchestrator/api/facade.ts";
import type { PartialText } from "../../src/orchestrator/api/types.ts";
import { createTextDeltas, metaOf, streamKey, textNoteOf, type TextNote } from "../../src/server/call/progress.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type Era } from "../support/memory-client.ts";

/** What a reader has who does as the notes say. */
function readAll(notes: readonly TextNote[]): PartialText {
  let read: PartialText = { text: "", thinking: "" };
  for (const { text = "", thinking = "", isReset } of notes) {
    if (isReset === true) read = { text: "", thinking: "" };
    read = { text: read.text + text, thinking: read.thinking + thinking };
  }
  return read;
}

describe("createTextDeltas", () => {
  it("tells what is new, and nothing where nothing is", () => {
    const next = createTextDeltas();
    expect(next(undefined)).toBeUndefined();
    expect(next({ text: "", thinking: "Hm" })).toEqual({ thinking: "Hm" });
    expect(next({ text: "The", thinking: "Hm" })).toEqual({ text: "The" });
    expect(next({ text: "The", thinking: "Hm" })).toBeUndefined();
    expect(next({ text: "The sky", thinking: "Hm" })).toEqual({ text: " sky" });
  });

  it("marks a reset when another model starts over", () => {
    const next = createTextDeltas();
    next({ text: "The sea", thinking: "" });
    expect(next(undefined)).toEqual({ isReset: true });
    expect(next({ text: "A lake", thinking: "" })).toEqual({ text: "A lake" });
    expect(next({ text: "An ocean", thinking: "" })).toEqual({ isReset: true, text: "An ocean" });
  });

  it("leaves every reader with the text as it is, however it grows and starts over", () => {
    const step = fc.record({ text: fc.string(), thinking: fc.string(), isOver: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const next = createTextDeltas();
        const notes: TextNote[] = [];
        let now: PartialText = { text: "", thinking: "" };
        for (const { text, thinking, isOver } of steps) {
          if (isOver) now = { text: "", thinking: "" };
          now = { text: now.text + text, thinking: now.thinking + thinking };
          const note = next(now);
          if (note !== undefined) notes.push(note);
        }
        expect(readAll(notes)).toEqual(now);
      }),
    );
  });

  it("survives the way over the protocol, and ordinary progress is none", () => {
    for (const note of [{ text: "a" }, { isReset: true }, { thinking: "b", text: "" }] satisfies TextNote[]) {
      expect(textNoteOf({ progress: 1, _meta: metaOf(note) })).toEqual(note);
    }
    expect(textNoteOf({ progress: 1, message: "loading" })).toBeUndefined();
    expect(textNoteOf({ progress: 1, _meta: { "io.example/text": "a" } })).toBeUndefined();
  });
});

describe.each<Era>(["legacy", "modern"])("a call of the %s era that asks for text", (era) => {
  it("hears the whole answer in pieces, also when the first model failed and the next started over", async () => {
    const driven = drivenOperation<GenerateResult>();
    let partial: PartialText | undefined;
    const operation = { ...driven, partial: () => partial };
    const { client, received, close } = await connectMemoryClient(
      createFakeOrchestrator({ generate: async () => operation }),
      { era, clientName: "ollm" },
    );
    const notes: TextNote[] = [];
    const call = client.callTool(
      { name: "route_and_generate", arguments: { prompt: "Why?" }, _meta: { [streamKey]: true } },
      {
        onprogress(progress) {
          const note = textNoteOf(progress);
          if (note !== undefined) notes.push(note);
        },
      },
    );
    await expect.poll(() => driven.followers()).toBe(1);
    partial = { text: "Nobody", thinking: "Hm" };
    await expect.poll(() => readAll(notes).text).toBe("Nobody");
    partial = { text: "The sky", thinking: "" };
    await expect.poll(() => readAll(notes).text).toBe("The sky");
    partial = { text: "The sky is blue.", thinking: "" };
    driven.succeed({ ...generated, text: "The sky is blue." });
    expect(await call).toMatchObject({ structuredContent: { text: "The sky is blue." } });
    expect(readAll(notes)).toEqual({ text: "The sky is blue.", thinking: "" });
    const values = received.flatMap((message) =>
      "method" in message && message.method === "notifications/progress" ? [Number(message.params?.["progress"])] : [],
    );
    expect(values).toEqual([...new Set(values)].toSorted((a, b) => a - b));
    await close();
  });
});

it("a client that did not request text gets progress only", async () => {
  const driven = drivenOperation<GenerateResult>();
  const operation = { ...driven, partial: () => ({ text: "The sky", thinking: "" }) };
  const { client, received, close } = await connectMemoryClient(
    createFakeOrchestrator({ generate: async () => operation }),
  );
  const call = client.callTool(
    { name: "route_and_generate", arguments: { prompt: "Why?" } },
    { onprogress: () => undefined },
  );
  await expect.poll(() => driven.followers()).toBe(1);
  driven.report({ message: "smollm2:135m answers" });
  driven.succeed(generated);
  await call;
  const told = received.filter((message) => "method" in message && message.method === "notifications/progress");
  expect(told.length).toBeGreaterThan(0);
  expect(JSON.stringify(told)).not.toContain("ollm/");
  await close();
});
