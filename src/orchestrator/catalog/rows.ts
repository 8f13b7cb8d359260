import type { DatabaseEntry } from "../api/facade.ts";
import type { Capability } from "../api/types.ts";

/** One line of the tables: pattern, family, context window in tokens, capabilities, profiles, source, output limit. */
export type Row = readonly [
  pattern: string,
  family: string,
  contextTokens: number,
  capabilities: string,
  profiles: string,
  source: string,
  outputTokens?: number,
];

/** The letters of capabilities in the tables. */
const capabilityByLetter: Readonly<Record<string, Capability>> = {
  c: "completion",
  t: "tools",
  i: "insert",
  v: "vision",
  e: "embedding",
  r: "thinking",
};

/** Capabilities are letters (c completion, t tools, i insert, v vision, e embedding, r thinking), profiles words. */
export function toEntry(row: Row): DatabaseEntry {
  const [pattern, family, contextTokens, capabilities, profiles, source, outputTokens] = row;
  return {
    pattern,
    family,
    contextTokens,
    ...(outputTokens === undefined ? {} : { outputTokens }),
    capabilities: capabilities.split("").flatMap((letter) => capabilityByLetter[letter] ?? []),
    profiles: profiles.split(" ").filter((profile) => profile !== ""),
    source,
  };
}
