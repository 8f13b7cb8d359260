import { expect, it } from "vitest";
import { residencyChanges } from "../../../src/orchestrator/inventory/differences.ts";

const model = (sizeBytes: number, contextTokens = 4096) => ({
  name: "a:1b",
  sizeBytes,
  vramBytes: 0,
  contextTokens,
});
const both = [{ kind: "memory" }, { kind: "models", isListChanged: false }];

it.each([
  ["what was loaded or unloaded", [], [model(4e8)], both],
  ["a load with more context", [model(4e8)], [model(4e8, 8192)], both],
  ["nothing of a few megabytes more, which come with every answer", [model(400e6)], [model(402e6)], []],
  ["a process that grew of the memory alone", [model(400e6)], [model(500e6)], [{ kind: "memory" }]],
])("a look at what is loaded tells %s", (_case, before, after, changes) => {
  expect(residencyChanges(before, after)).toEqual(changes);
});
