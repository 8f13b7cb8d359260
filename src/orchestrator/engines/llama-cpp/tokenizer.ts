import { Cancelled, throwIfCancelled } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { EngineTokenizer } from "../engine.ts";
import { type ChildSession, callWithStallDetection, withinLimit } from "./child-session.ts";
import type { PromptCountRequest } from "./child/protocol.ts";
import { ComputeGate } from "./compute-gate.ts";
import { toComputeError } from "./failures.ts";
import type { Loadable, Models } from "./models.ts";
import { promptParts } from "./prepare-request.ts";
import type { StoredModel } from "./store/reader.ts";
import { messageOf } from "../../util/message-of.ts";

/** Starting a process, reading a vocabulary and counting megabytes of prompt takes a second on an idle machine. */
const vocabularyLimitMs = 30_000;

/** Counts in the process of a loaded model, else in a temporary process that reads only the vocabulary. */
export function createTokenizer(parts: {
  readonly models: Pick<Models, "find">;
  readonly open: (signal: AbortSignal) => Promise<ChildSession>;
  readonly prepare: (model: string, signal: AbortSignal) => Promise<Loadable>;
  readonly find: (model: string) => Promise<StoredModel | undefined>;
  readonly now: () => number;
  /** Milliseconds without progress after which a loaded model's process counts as deadlocked. */
  readonly stallMs: number;
  readonly log: Log;
}): EngineTokenizer {
  const { models, stallMs } = parts;
  /** One temporary process at a time. */
  const gate = new ComputeGate(parts.now);

  async function countByVocabulary(file: string, request: PromptCountRequest, signal: AbortSignal): Promise<number> {
    const session = await parts.open(signal);
    const ask = async () => {
      await session.call({ type: "vocabulary", file }, () => undefined, signal);
      return session.call(request, () => undefined, signal);
    };
    const tooLong = `not counted within ${vocabularyLimitMs / 1_000} s`;
    try {
      return (await withinLimit(ask(), vocabularyLimitMs, tooLong, signal, session.stop)).tokens;
    } finally {
      await session.stop();
    }
  }

  return {
    async count(model, text, signal) {
      throwIfCancelled(signal, `counting the tokens of ${model}`);
      const stored = await parts.find(model);
      const resident = stored && models.find(stored);
      if (resident === undefined) return undefined;
      try {
        const request = { type: "count", text } as const;
        return (await callWithStallDetection(resident.session, request, stallMs, () => undefined, signal)).tokens;
      } catch (error) {
        throw toComputeError(model, error);
      }
    },

    async countPrompt({ model, format, ...prompt }, signal) {
      try {
        const { stored } = await parts.prepare(model, signal);
        const { toolChoice = "auto" } = prompt;
        const promptRequest = promptParts(stored, prompt);
        const isForced = promptRequest.tools !== undefined && toolChoice !== "auto";
        const request: PromptCountRequest = {
          type: "count-prompt",
          ...promptRequest,
          hasFormat: format !== undefined || isForced,
        };
        const resident = models.find(stored);
        if (resident?.session.isAlive() === true)
          return (await callWithStallDetection(resident.session, request, stallMs, () => undefined, signal)).tokens;
        return await gate.run(signal, () => countByVocabulary(stored.weightsFile, request, signal));
      } catch (error) {
        throwIfCancelled(signal, `counting the tokens of ${model}`);
        if (error instanceof Cancelled) throw error;
        parts.log.info(`engine: the prompt for ${model} could not be counted: ${messageOf(error)}`);
        return undefined;
      }
    },
  };
}
