import { expect, test } from "vitest";
import { counted } from "../../../src/orchestrator/util/format-bytes.ts";

test.each([
  [0, "0 models", "0 entries"],
  [1, "1 model", "1 entry"],
  [2, "2 models", "2 entries"],
])("counts %d in its singular or plural", (count, regular, irregular) => {
  expect([counted(count, "model"), counted(count, "entry", "entries")]).toEqual([regular, irregular]);
});
