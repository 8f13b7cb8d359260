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
