import { describe, expect, it } from "vitest";
import { decide, readDecisions } from "./decisions.ts";

/** Weights and rules were tuned on `dev`; `judge` only judges. One expert wrote both, before the rules were written. */
describe.each(["dev", "judge"] as const)("the decisions of a written expert (%s)", (half) => {
  const decisions = readDecisions(half);

  it("are shared in at least nine of ten", () => {
    const others = decisions.flatMap((each) => {
      const model = decide(each);
      return model !== undefined && each.expected.includes(model)
        ? []
        : [`${each.id}: ${model}, not ${each.expected.join(" or ")}: ${each.why}`];
    });
    expect(others.length, others.join("\n")).toBeLessThanOrEqual(decisions.length / 10);
  });

  it("are about models that are installed", () => {
    for (const { installed, expected } of decisions) {
      expect(installed.map(({ name }) => name)).toEqual(expect.arrayContaining([...expected]));
    }
  });
});
