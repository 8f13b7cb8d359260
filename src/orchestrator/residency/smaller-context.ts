import type { MemoryEstimate } from "../api/types.ts";

/** Anything less is too small to be useful. */
const minTokens = 1024;

/** Estimates that don't depend on the context. */
const contextFree: ReadonlySet<MemoryEstimate["method"]> = new Set(["size_rule", "configured"]);

/**
 * The largest power-of-two context below the refused one for which `fits` resolves to true; undefined if there is
 * none.
 */
export async function smallerContext(
  refused: { readonly contextTokens: number; readonly estimate: Pick<MemoryEstimate, "method"> },
  fits: (contextTokens: number) => Promise<boolean>,
): Promise<number | undefined> {
  if (contextFree.has(refused.estimate.method) || refused.contextTokens <= minTokens) return undefined;
  // Checked first: mostly the weights alone don't fit.
  if (!(await fits(minTokens))) return undefined;
  let tokens = minTokens;
  while (tokens * 2 < refused.contextTokens && (await fits(tokens * 2))) tokens *= 2;
  return tokens;
}
