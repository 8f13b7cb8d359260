import { describe, expect, it } from "vitest";
import { interruptedText } from "../../../src/cli/front/messages.ts";
import { tools } from "../../../src/tools/index.ts";

const told = (name: string, input: object = {}) => interruptedText("tools/call", { name, arguments: input });

describe("what a caller is told of a call that died with its daemon", () => {
  it("is that calling again is safe, of every tool that changes nothing the second time", () => {
    const safe = tools.map(({ name }) => name).filter((name) => told(name).endsWith(" Calling again is safe."));
    const expected = tools.filter(({ name, isIdempotent }) => isIdempotent && name !== "manage_model");
    // Generations change nothing either, unless they write a file.
    const generations = ["route_and_generate", "render_template", "compare"];
    expect(safe.toSorted()).toEqual([...expected.map(({ name }) => name), ...generations].toSorted());
  });

  it("is to look first where a file may have been written, a model deleted, or nobody knows", () => {
    const file = told("route_and_generate", { prompt: "x", output_path: "a.md" });
    expect(file).toMatch(/ "a\.md" may have been written: look, and call again if it is missing\.$/);
    expect(told("manage_model", { action: "delete" })).toMatch(/ Look with list_models at what was done/);
    expect(told("manage_model", { action: "show" })).toMatch(/ Calling again is safe\.$/);
    expect(told("pick_winner", { action: "list" })).toMatch(/ Calling again is safe\.$/);
    expect(told("pick_winner", { action: "undo" })).toMatch(/ Look at what was done before you call again\.$/);
    expect(told("project_profile", { action: "init" })).toMatch(/ Look at what was done before you call again\.$/);
    expect(told("a_tool_of_a_later_version")).toMatch(/ Look at what was done before you call again\.$/);
    expect(interruptedText("tasks/cancel", {})).toMatch(
      / while tasks\/cancel was under way.* Calling again is safe\.$/,
    );
  });
});
