import fc from "fast-check";
import { expect, test } from "vitest";
import { eventsOf } from "../../src/ui/mcp.ts";

/** The events of a body that arrives in these chunks. */
async function found(chunks: readonly Uint8Array[]) {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  const events: { readonly event: string | undefined; readonly data: string }[] = [];
  for await (const { event, data } of eventsOf(body)) events.push({ event, data });
  return events;
}

const encoder = new TextEncoder();

test("an event ends at an empty line; its data is all its lines; comments and unknown fields are left out", async () => {
  expect(
    await found([encoder.encode(": ping\n\nevent: state\nid: 4\ndata: {\ndata:  1}\n\ndata\n\nunknown: 1\n\n")]),
  ).toEqual([
    { event: "state", data: "{\n 1}" },
    { event: undefined, data: "" },
  ]);
});

test("it does not matter where a stream is cut, nor how its lines end", async () => {
  const whole = ["event: a", "data: one", "", "data: two", "data: three", "", "event: b", "data: ü", "", ""];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom("\n", "\r\n"), fc.array(fc.nat(70), { maxLength: 8 }), async (end, cuts) => {
      const bytes = encoder.encode(whole.join(end));
      const at = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).toSorted((one, other) => one - other)];
      expect(await found(at.map((from, index) => bytes.subarray(from, at[index + 1])))).toEqual([
        { event: "a", data: "one" },
        { event: undefined, data: "two\nthree" },
        { event: "b", data: "ü" },
      ]);
    }),
  );
});
