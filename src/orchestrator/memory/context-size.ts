/** What every model gets unless more is asked for: enough for a question about a page or two. */
export const defaultContextTokens = 4096;

/**
 * The one context window a model is loaded with, in tokens: at least what is asked for, rounded up to a power of two
 * (so that requests which differ a little share one load), never below what is loaded (it only grows), never beyond
 * the model's own window.
 */
export function canonicalContext(ask: {
  /** Undefined: the default. */
  readonly atLeastTokens: number | undefined;
  readonly loadedTokens?: number | undefined;
  readonly windowTokens?: number | undefined;
}): number {
  const wanted = Math.max(ask.atLeastTokens ?? defaultContextTokens, 256);
  const rounded = 2 ** Math.ceil(Math.log2(wanted));
  const grown = Math.max(rounded, ask.loadedTokens ?? 0);
  return ask.windowTokens === undefined ? grown : Math.min(grown, ask.windowTokens);
}
