import { expect, it } from "vitest";
import { renderDecisions } from "../../../src/cli/commands/status.ts";
import { silentIo as io } from "../../support/silent-io.ts";

it("decisions are shown newest last, those of another day with its date", () => {
  const now = new Date(2026, 10, 21, 12, 0, 0);
  const at = (day: number) => new Date(2026, 10, day, 9, 5, 7).toISOString();
  const decisions: Parameters<typeof renderDecisions>[0] = [
    { at: at(21), kind: "unload", model: "a:1b", engine: "ollama", steps: ["unloaded on request: 1.5 GB freed"] },
    { at: at(20), kind: "load", model: "a:1b", engine: "ollama", steps: ["available 8.0 GB", "load a:1b"] },
  ];
  expect(renderDecisions(decisions, io, now.getTime())).toMatchInlineSnapshot(`
    "2026-11-20 09:05:07  load a:1b
              available 8.0 GB
              load a:1b
    09:05:07  unload a:1b
              unloaded on request: 1.5 GB freed
    "
  `);
});
