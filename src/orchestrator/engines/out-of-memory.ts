import type { NextStep } from "../api/next-step.ts";

/** Next steps when a model does not fit into memory. */
export const outOfMemorySteps: readonly NextStep[] = [
  { step: "unloadModel" },
  { step: "lowerArgument", argument: "context" },
  { step: "chooseModel", that: "that needs less memory" },
];

/** Recognizes llama.cpp's messages about exhausted memory, which Ollama passes on. */
export function mentionsOutOfMemory(text: string): boolean {
  return /out.of.memory|(?:failed|unable) to allocate|cannot allocate memory|(?:not enough|insufficient) memory|too large for the available|bad_alloc|cudaMalloc/i.test(
    text,
  );
}

/** Returns the size of the failed allocation ("failed to allocate buffer of size 5368709120"), if `text` has it. */
export function allocationBytesIn(text: string): number | undefined {
  const digits = /allocate[^\n]*?\bsize:? (\d+)/i.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

const complaint =
  /^(?:Uncaught )?(?:[\w.]*(?:Error|Exception)\b[^:]*: .|FATAL ERROR: )|what\(\): |GGML_ASSERT|GGML_ABORT/;
const decoration = /^(?:at |Node\.js v\d|[\^{}]+$)/;

/**
 * The line of a process's output with the reason for its end: the last uncaught error or abort, else the last line that
 * is not part of a stack trace or Node's version line. Undefined if there is no output.
 */
export function crashReasonIn(lines: readonly string[]): string | undefined {
  const newestFirst = lines
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .toReversed();
  return newestFirst.find((line) => complaint.test(line)) ?? newestFirst.find((line) => !decoration.test(line));
}
