import * as z from "zod";
import { openDocument } from "../../../src/orchestrator/storage/document.ts";
import type { DocumentOptions } from "../../../src/orchestrator/storage/load-document.ts";
import type { DocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";

const state = z.object({ words: z.array(z.string()), total: z.number() });
const event = z.object({ word: z.string() });
export type Counter = z.infer<typeof state>;
export type Counted = z.infer<typeof event>;

/** A small document: words in their order. `apply` returns their number. */
export function counterOptions(
  files: DocumentFiles | undefined,
  more: Partial<DocumentOptions<Counter, Counted, number>> = {},
): Omit<DocumentOptions<Counter, Counted, number>, "noteLost"> {
  return {
    ...(files === undefined ? {} : { files }),
    name: "words",
    schemaVersion: 2,
    empty: () => ({ words: [], total: 0 }),
    state,
    event,
    apply(counter, { word }) {
      counter.words.push(word);
      counter.total += 1;
      return counter.total;
    },
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined },
    ...more,
  };
}

export function openCounter(
  files: DocumentFiles | undefined,
  more: Partial<DocumentOptions<Counter, Counted, number>> = {},
) {
  return openDocument(counterOptions(files, more));
}
