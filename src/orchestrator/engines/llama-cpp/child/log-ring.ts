/** Keeps the end of a log. */
interface LogRing {
  add(text: string): void;
  /** Returns the kept lines, oldest first. */
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
 * Returns why llama.cpp could not load a model. Its exception is only "Failed to load model"; the reason is in the log, as
 * `error loading model: unknown model architecture: 'x'` or `llama_model_load: error loading model: …`.
 */
export function loadErrorIn(lines: readonly string[]): string | undefined {
  const newestFirst = lines.toReversed();
  for (const pattern of [
    /error loading model(?: \w+)?: (.+)$/,
    // With the size, which the later summary omits.
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
