const complaint =
  /^(?:Uncaught )?(?:[\w.]*(?:Error|Exception)\b[^:]*: .|FATAL ERROR: )|what\(\): |GGML_ASSERT|GGML_ABORT/;
const decoration = /^(?:at |Node\.js v\d|[\^{}]+$)/;

/**
 * The line that tells why a process ended, in what it wrote until then: an uncaught error, an abort, else the last one.
 * The very last tells nothing as a rule: Node ends with its own version, below the stack. Undefined: it wrote nothing.
 */
export function crashReasonIn(lines: readonly string[]): string | undefined {
  const newestFirst = lines
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .toReversed();
  return newestFirst.find((line) => complaint.test(line)) ?? newestFirst.find((line) => !decoration.test(line));
}
