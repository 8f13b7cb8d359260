import type { Engine } from "../../src/orchestrator/engines/engine.ts";
import type { Generation, GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { type FakeEngine, createFakeEngine, fakeModel, gigabyte } from "./fake-engine.ts";

export const narrowModel = fakeModel("llama3.2:3b", gigabyte, { contextTokens: 2048 });

/** A file with that many sections of about 300 tokens, each with a port from 9000 on. */
export function portsFile(path: string, sections: number): { readonly path: string; readonly text: string } {
  const words = "Some more words about it. ".repeat(50);
  const texts = Array.from(
    { length: sections },
    (_, index) => `## Section ${index + 1}\n\nPort ${9000 + index}.\n\n${words}\n\n`,
  );
  return { path, text: texts.join("") };
}

export const portsQuestion = "Which ports are named?";

export const promptOf = ({ messages }: GenerationRequest): string => messages.at(-1)?.content ?? "";
export const isReading = (request: GenerationRequest): boolean => promptOf(request).endsWith("Notes on this part:");
export const portsIn = (text: string): readonly string[] => [...text.matchAll(/\b9\d{3}\b/g)].map(([port]) => port);

export interface ReadingEngine {
  readonly engine: FakeEngine;
  /** All, in order. */
  readonly requests: readonly GenerationRequest[];
  /** Those for the notes on a part. */
  read(): readonly GenerationRequest[];
}

/**
 * An engine whose models answer with the ports in their prompts: as notes on a part, and from the notes. `before` may
 * reject, wait, or replace the answer; its second argument counts the requests for notes, from 1.
 */
export function createReadingEngine(
  options: {
    readonly id?: string;
    readonly more?: Partial<Engine>;
    readonly models?: Parameters<typeof createFakeEngine>[1];
    readonly before?: (
      request: GenerationRequest,
      reading: number,
      signal: AbortSignal,
    ) => Promise<Partial<Generation> | undefined> | undefined;
  } = {},
): ReadingEngine {
  const engine = createFakeEngine(options.id ?? "ollama", options.models ?? [narrowModel], options.more);
  const requests: GenerationRequest[] = [];
  const read = () => requests.filter(isReading);
  engine.answer = async (request, _sink, signal) => {
    requests.push(request);
    const replaced = await options.before?.(request, isReading(request) ? read().length : 0, signal);
    return { text: portsIn(promptOf(request)).join(" ") || "NOTHING", completionTokens: 8, ...replaced };
  };
  return { engine, requests, read };
}
