import { expect, it } from "vitest";
import { Pause } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";

it("a pause that is asked for while another one ends is reported, too", async () => {
  const phases: string[] = [];
  const pause = new Pause(
    (event) => void (event.type === "phase" && phases.push(event.phase)),
    new AbortController().signal,
  );
  pause.ask();
  const passing = pause.pass();
  // Both messages were read at once, before anything else could run.
  pause.end();
  pause.ask();
  await expect.poll(() => phases).toEqual(["paused", "paused"]);
  pause.end();
  await passing;
});
