import { describe, expect, it } from "vitest";
import { toolsOnOffer } from "../../src/server/call/offered-tools.ts";

const all = ["route_and_generate", "list_models", "compare", "create_template", "update_config"];
const tools = all.map((name) => ({
  name,
  ...(["create_template", "update_config"].includes(name) && { set: "extra" as const }),
}));
const offer = (...filters: Parameters<typeof toolsOnOffer>[1][number][]) => toolsOnOffer(tools, filters);
const where = "";

describe("the tools on offer", () => {
  it.each([
    [["default"], ["route_and_generate", "list_models", "compare"]],
    [["all"], all],
    [
      ["default", "update_config"],
      ["route_and_generate", "list_models", "compare", "update_config"],
    ],
    [
      ["update_config", "list_models"],
      ["list_models", "update_config"],
    ],
    [[], ["route_and_generate", "list_models", "compare"]],
  ])("of the sets %j are %j", (sets, names) => {
    expect(offer({ sets, where })).toMatchObject({ names, warnings: [] });
  });

  it("are the default ones where no set is known, and that is said with the nearest name", () => {
    const { names, warnings } = offer({ sets: ["al"], where: " (ollm config show tools)" });
    expect(names).toEqual(["route_and_generate", "list_models", "compare"]);
    expect(warnings).toEqual(['tools.sets (ollm config show tools): unknown tool "al" (did you mean all?)']);
  });

  it("are only the enabled ones, less the disabled ones", () => {
    const { names, hidden } = offer({
      sets: ["all"],
      enabled: ["compare", "list_models"],
      disabled: ["compare"],
      where,
    });
    expect(names).toEqual(["list_models"]);
    expect(hidden.get("update_config")).toBe("not in tools.enabled");
    expect(hidden.get("compare")).toBe("switched off by tools.disabled");
  });

  it("ignore a list without known tools, with a warning", () => {
    const { names, warnings } = offer(
      { sets: ["default"], where },
      { enabled: ["read_file", "bash"], where: " in /p" },
    );
    expect(names).toEqual(["route_and_generate", "list_models", "compare"]);
    expect(warnings).toEqual(['tools.enabled in /p: unknown tools "read_file", "bash"; it is ignored']);
  });

  it("are empty only if explicitly set so", () => {
    expect(offer({ disabled: all, where }).names).toEqual([]);
    expect(offer({ enabled: [], where }).names).toEqual(all);
  });

  it("are never more than each filter leaves: a project brings nothing in", () => {
    const mine = { sets: ["default"], enabled: ["compare", "list_models"], disabled: ["compare"], where };
    const theirs = { enabled: ["compare", "update_config", "list_models"], disabled: [], where: " in /p" };
    expect(offer(mine, theirs).names).toEqual(["list_models"]);
    expect(offer(theirs, mine).names).toEqual(["list_models"]);
  });

  it("names five of many unknown ones, shortly", () => {
    const disabled = Array.from({ length: 50 }, (_each, index) => `${index}${"x".repeat(500)}`);
    const [warning = ""] = offer({ disabled, where }).warnings;
    expect(warning).toContain("and 45 more");
    expect(warning.length).toBeLessThan(500);
  });
});
