import type { MemoryEstimate } from "../types.ts";

/** Less holds no question worth asking. */
const leastTokens = 1024;

/** Under the size rule, or what is configured, the context changes nothing. */
const contextFree: ReadonlySet<MemoryEstimate["method"]> = new Set(["size_rule", "configured"]);

/**
 * The largest context below `refused` with which it would be otherwise, by halves; undefined where none helps.
 * `helps` is asked with tokens.
 */
export async function smallerContext(
  refused: { readonly contextTokens: number; readonly estimate: Pick<MemoryEstimate, "method"> },
  helps: (contextTokens: number) => Promise<boolean>,
): Promise<number | undefined> {
  if (contextFree.has(refused.estimate.method) || refused.contextTokens <= leastTokens) return undefined;
  // Asked first: mostly it is the weights that don't fit, and then no other question is needed.
  if (!(await helps(leastTokens))) return undefined;
  let tokens = leastTokens;
  while (tokens * 2 < refused.contextTokens && (await helps(tokens * 2))) tokens *= 2;
  return tokens;
}
