import { describe, expect, it } from "vitest";
import { createPipingWatch } from "../../src/ipc/piping.ts";

/** `r`: it sends a request, `a`: it is sent an answer; whether it then ends as a script. */
function isScript(events: string): boolean {
  const watch = createPipingWatch();
  for (const event of events) watch[event === "r" ? "requested" : "answered"]();
  return watch.ended();
}

describe("who closes with calls under way", () => {
  it.each(["r", "rr", "rra", "rrar", "rrarrra"])("is a script when it waited for no first answer: %s", (events) => {
    expect(isScript(events)).toBe(true);
  });

  it.each(["ra", "rar", "rarr", "rararrra"])("is a client when it did, whatever it asked later: %s", (events) => {
    expect(isScript(events)).toBe(false);
  });
});
