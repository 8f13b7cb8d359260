import { createHash } from "node:crypto";
import type { FakeModel } from "./types.ts";

/** What an echoing model answers: as many tokens as asked for, all of them the prompt's own. */
export function echoOf(prompt: string, tokens: number): string {
  const mark = createHash("sha256").update(prompt).digest("hex").slice(0, 12);
  return Array.from({ length: tokens }, (_, index) => `${mark}-${index}`).join(" ");
}

/** Models `echo-0:latest`, `echo-1:latest`, ... whose answers tell whose they are. */
export function echoModels(count: number, tokens: number): readonly FakeModel[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `echo-${index}:latest`,
    weights: createHash("sha256").update(`echo ${index}`).digest("hex"),
    reply: (prompt: string) => echoOf(prompt, tokens),
  }));
}
