import { formatCount, formatDuration } from "./format-bytes.ts";

type Lists = Partial<Readonly<Record<"failures" | "examples", readonly string[] | undefined>>>;

/** `198 of 200 answered by qwen3:4b in 12 min; 81k tokens read, 9k written` and what is to be known of the rest. */
export function batchLines(
  { counts, failures = [], examples = [] }: Lists & { readonly counts: Readonly<Record<string, number>> },
  model: string,
): readonly string[] {
  const { asked, done, seconds = 0, prompt_tokens = 0, completion_tokens = 0 } = counts;
  const tokens = `${formatCount(prompt_tokens)} tokens read, ${formatCount(completion_tokens)} written`;
  const words = { empty: "don't say", doubtful: "doubtful", failed: "failed", open: "not asked", kept: "asked before" };
  const rest = Object.entries(words).flatMap(([name, word]) => (counts[name] ? [`${counts[name]} ${word}`] : []));
  return [
    // The tokens are those of all calls.
    `${done} of ${asked} answered${model === "" ? "" : ` by ${model}`}${counts["kept"] ? "" : ` in ${formatDuration(seconds * 1000)}`}; ${tokens}`,
    ...(rest.length === 0 ? [] : [rest.join(", ")]),
    ...failures.map((each) => `failed: ${each}`),
    ...examples,
  ];
}
