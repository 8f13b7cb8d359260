import { createHash } from "node:crypto";
import type { FakeModel } from "./types.ts";

/** Returns the answer of an echoing model: the requested number of tokens, all from the prompt. */
export function echoOf(prompt: string, tokens: number): string {
  const mark = createHash("sha256").update(prompt).digest("hex").slice(0, 12);
  return Array.from({ length: tokens }, (_, index) => `${mark}-${index}`).join(" ");
}

/** Models `echo-0:latest`, `echo-1:latest`, ... whose answers identify their prompts. */
export function echoModels(count: number, tokens: number): readonly FakeModel[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `echo-${index}:latest`,
    weights: createHash("sha256").update(`echo ${index}`).digest("hex"),
    reply: (prompt: string) => echoOf(prompt, tokens),
  }));
}
