import type { SummaryModel } from "../../orchestrator/storage/summary-file.ts";

/** Most clients show this to the assistant at the start of a session. With the models at most 150 tokens (o200k). */
const guide =
  "Language models on the user's machine: free, private, weaker than you. " +
  "Hand over with route_and_generate: summaries, extraction, classification, drafts, commit messages, bulk work, " +
  "private text. Name inputs in `files` (also git:staged), which cost you no tokens. " +
  "Do yourself what needs careful reasoning, this conversation or current facts. " +
  "Check answers; redo poor ones and failed calls yourself. " +
  "remember lasting facts and preferences; recall before asking again. ";

const maxModels = 3;
/** Limit for all names together: a long one takes the place of others. */
const maxNameTokens = 37;
/**
 * Names with other characters, addresses, and names with more than five words in a row, which may be a sentence, are left
 * out: an assistant takes instructions for the words of the server itself.
 */
const plainName = /^(?!.*\/\/)(?!.*[A-Za-z]+(?:[-_.]+[A-Za-z]+){5})[A-Za-z0-9][\w.:/-]*$/;

/** The instructions with the installed models, most useful first; undefined where they aren't known. */
export function instructionsFor(models: readonly SummaryModel[] | undefined): string {
  if (models?.length === 0) return `${guide}No model is installed yet: list_models suggests one.`;
  const named: string[] = [];
  let left = maxNameTokens;
  for (const { name, tokensPerSecond, isAway } of models ?? []) {
    if (isAway === true) continue;
    if (named.length === maxModels) break;
    const tokens = tokensAtMost(name);
    if (tokens > left || !plainName.test(name)) continue;
    left -= tokens;
    named.push(
      tokensPerSecond === undefined ? name : `${name} ${Math.min(999, Math.max(1, Math.round(tokensPerSecond)))}`,
    );
  }
  if (named.length === 0) return `${guide}Without a model, list_models suggests one.`;
  return `${guide}Models, with tokens/s here: ${named.join(", ")}.`;
}

/** Tokenizers split names at changes of case and kind, and unknown words into pairs of letters. */
function tokensAtMost(name: string): number {
  const pieces = name.match(/[A-Z]?[a-z]+|[A-Z]|\d{1,3}|./g) ?? [];
  return pieces.reduce((sum, piece) => sum + (/^[A-Za-z]/.test(piece) ? Math.ceil(piece.length / 2) : 1), 0);
}
