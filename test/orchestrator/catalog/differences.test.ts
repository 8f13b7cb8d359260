import { expect, it } from "vitest";
import { residencyChanges } from "../../../src/orchestrator/catalog/located-model.ts";

const model = (sizeBytes: number, contextTokens = 4096) => ({
  name: "a:1b",
  sizeBytes,
  vramBytes: 0,
  contextTokens,
});
const both = [{ kind: "memory changed" }, { kind: "listed models changed", isListChanged: false }];

it.each([
  ["a load or unload", [], [model(4e8)], both],
  ["a load with more context", [model(4e8)], [model(4e8, 8192)], both],
  ["no growth by a few megabytes, which every answer causes", [model(400e6)], [model(402e6)], []],
  ["a grown process as a change of memory only", [model(400e6)], [model(500e6)], [{ kind: "memory changed" }]],
])("a poll of the loaded models reports %s", (_case, before, after, changes) => {
  expect(residencyChanges(before, after)).toEqual(changes);
});
