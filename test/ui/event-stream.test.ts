import fc from "fast-check";
import { expect, test } from "vitest";
import { EventParser, eventsOf } from "../../src/ui/event-stream.ts";

test("an event ends at an empty line; its data is all its lines; comments and unknown fields are left out", () => {
  const parser = new EventParser();
  expect(parser.push(": ping\n\nevent: state\nid: 4\ndata: {\ndata:  1}\n\ndata\n\n")).toEqual([
    { event: "state", data: "{\n 1}" },
    { event: "message", data: "" },
  ]);
});

test("it does not matter where a stream is cut, nor how its lines end", () => {
  const whole = ["event: a", "data: one", "", "data: two", "data: three", "", "event: b", "data: ü", "", ""];
  fc.assert(
    fc.property(fc.constantFrom("\n", "\r\n", "\r"), fc.array(fc.nat(60), { maxLength: 8 }), (end, cuts) => {
      // A lone carriage return at the very end may be half of a line break: the next line decides.
      const text = `${whole.join(end)}:`;
      const parser = new EventParser();
      const at = [0, ...cuts.map((cut) => Math.min(cut, text.length)).toSorted((one, other) => one - other)];
      const events = at.flatMap((from, index) => parser.push(text.slice(from, at[index + 1])));
      expect(events).toEqual([
        { event: "a", data: "one" },
        { event: "message", data: "two\nthree" },
        { event: "b", data: "ü" },
      ]);
    }),
  );
});

test("the events of a body arrive as they are sent, and characters that are cut are whole again", async () => {
  const bytes = new TextEncoder().encode("data: grüße\n\ndata: 2\n\n");
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const found: string[] = [];
  for await (const { data } of eventsOf(body)) found.push(data);
  expect(found).toEqual(["grüße", "2"]);
});
