import { PassThrough } from "node:stream";
import { afterEach, expect, it, vi } from "vitest";
import { processIo } from "../../src/cli/terminal/io.ts";
import { Cancelled } from "../../src/orchestrator/api/errors.ts";

afterEach(() => void vi.restoreAllMocks());

function asked(): { readonly keys: PassThrough; readonly written: () => string; readonly answer: Promise<string> } {
  const keys = new PassThrough();
  let written = "";
  vi.spyOn(process, "stdin", "get").mockReturnValue(keys as never);
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    written += String(text);
    return true;
  });
  return { keys, written: () => written, answer: processIo("/cli.mjs").ask("Continue? [Y/n] ") };
}

it("a typed line is the answer, without spaces around it", async () => {
  const { keys, answer } = asked();
  keys.write(" y \n");
  await expect(answer).resolves.toBe("y");
});

it("the end of stdin (Ctrl-D) is no answer, and what follows begins on a new line", async () => {
  const { keys, written, answer } = asked();
  keys.end();
  await expect(answer).rejects.toThrow(Cancelled);
  expect(written().endsWith("\n")).toBe(true);
});
