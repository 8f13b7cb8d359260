import { describe, expect, it } from "vitest";
import { createPipingWatch } from "../../src/ipc/lines.ts";

/** `r`: a request, `a`: an answer. Returns whether the other end is then taken for a script. */
function isScript(events: string): boolean {
  const watch = createPipingWatch();
  for (const event of events) watch[event === "r" ? "requested" : "answered"]();
  return watch.ended();
}

describe("a stream that closes with calls in progress", () => {
  it.each(["r", "rr", "rra", "rrar", "rrarrra"])(
    "belongs to a script if it didn't wait for the first answer: %s",
    (events) => {
      expect(isScript(events)).toBe(true);
    },
  );

  it.each(["ra", "rar", "rarr", "rararrra"])("belongs to a client if it did, whatever it sent later: %s", (events) => {
    expect(isScript(events)).toBe(false);
  });
});
