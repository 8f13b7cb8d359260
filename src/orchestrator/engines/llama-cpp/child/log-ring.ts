/** Keeps the last bytes of a log that nobody may ever read. */
export interface LogRing {
  add(text: string): void;
  /** The kept lines, oldest first. */
  lines(): readonly string[];
}

const maxCharacters = 16_384;

export function createLogRing(): LogRing {
  let kept = "";
  return {
    add(text) {
      kept = (kept + text).slice(-maxCharacters);
    },
    lines: () => kept.split("\n").filter((line) => line.trim() !== ""),
  };
}

/**
 * Why llama.cpp refused a model. Its exception says only "Failed to load model"; the reason is in the log, worded
 * `error loading model: unknown model architecture: 'x'` or `llama_model_load: error loading model: …`.
 */
export function loadErrorIn(lines: readonly string[]): string | undefined {
  const newestFirst = lines.toReversed();
  for (const pattern of [
    /error loading model(?: \w+)?: (.+)$/,
    // With its size, which the summary that follows leaves out.
    /((?:failed|unable) to allocate.*size:? \d+)/i,
    /((?:failed|unable) to allocate.*)$/i,
    /(?:failed|error|assert)[^:]*: (.+)$/i,
  ]) {
    for (const line of newestFirst) {
      const reason = pattern.exec(line)?.[1]?.trim();
      if (reason !== undefined && reason !== "") return reason;
    }
  }
  return undefined;
}
