/** The default context: enough for a question about a page or two. */
export const defaultContextTokens = 4096;

/**
 * The context to load a model with, in tokens: the requested size rounded up to a power of two (so that similar
 * requests share one load), at least the loaded size, at most the model's own window.
 */
export function canonicalContext(ask: {
  /** Undefined: `defaultContextTokens`. */
  readonly atLeastTokens: number | undefined;
  readonly loadedTokens?: number | undefined;
  readonly windowTokens?: number | undefined;
}): number {
  const wanted = Math.max(ask.atLeastTokens ?? defaultContextTokens, 256);
  const rounded = 2 ** Math.ceil(Math.log2(wanted));
  const grown = Math.max(rounded, ask.loadedTokens ?? 0);
  return ask.windowTokens === undefined ? grown : Math.min(grown, ask.windowTokens);
}
