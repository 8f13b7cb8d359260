import { randomUUID } from "node:crypto";
import { CardFailed, PromptTooLong, UnsupportedCapability, Cancelled, throwIfCancelled } from "../../api/errors.ts";
import type { ModelFacts } from "../../api/types.ts";
import type { Engine, EngineEmbedding, LoadOptions } from "../engine.ts";
import { type GenerationRequest, readingMs } from "../generation.ts";
import { callWithStallDetection, type ChildSession, withinLimit } from "./child-session.ts";
import type { ChildEvent, GenerateDone, PromptCountRequest } from "./child/protocol.ts";
import { ChildFailure } from "./child/failure.ts";
import { ComputeGate, type Turn } from "./compute-gate.ts";
import { toComputeError } from "./failures.ts";
import type { Loadable, Models, Resident } from "./models.ts";
import { prepareRequest, promptParts } from "./prepare-request.ts";
import type { StoredModel } from "./store/reader.ts";
import { defined, messageOf } from "../../util/values.ts";
import type { Log } from "../../api/log.ts";

interface ComputingParts {
  readonly models: Models;
  readonly gate: ComputeGate;
  readonly now: () => number;
  /** Milliseconds without progress after which a computing process counts as deadlocked. */
  readonly stallMs: number;
  readonly promptCacheBytes: number | undefined;
  readonly prepare: (model: string, signal: AbortSignal) => Promise<Loadable & { readonly facts: ModelFacts }>;
}

/** Most inputs are shorter; a longer one reloads the model. */
const embeddingContextTokens = 2_048;

/** Generation and embedding with loaded models. */
export function createComputing(parts: ComputingParts): Pick<Engine, "generate"> & Pick<EngineEmbedding, "embed"> {
  const { models, gate, now, stallMs, prepare } = parts;
  /**
   * Loads the model if necessary, waits for the cores, and computes. Beside other answers of the same model it needs a
   * sequence of its own, else it waits for the end of one.
   */
  async function compute<Done>(
    loadable: Loadable,
    options: LoadOptions,
    signal: AbortSignal,
    work: (resident: Resident, turn: Turn) => Promise<Done>,
    { background, sequences = 1 }: Pick<GenerationRequest, "background" | "sequences"> = {},
    isShared = false,
  ): Promise<{ readonly done: Done; readonly loadMs: number; readonly queueMs: number }> {
    const { name } = loadable.stored;
    let [loadMs, queueMs] = [0, 0];
    let mayShare = true;
    for (;;) {
      const load = () => models.use(loadable, options, () => undefined, signal);
      const use = await load().catch((error: unknown) => {
        if (error instanceof CardFailed) return load();
        throw error;
      });
      loadMs += use.loadMs;
      try {
        const { resident } = use;
        const isSharing = mayShare;
        const width = () => (isSharing ? Math.max(sequences, resident.session.capacity().sequences) : 1);
        const computed = await gate.run(
          signal,
          async (turn) => {
            queueMs += turn.waitedMs;
            // The model may have been unloaded or reloaded during the wait.
            if (!resident.session.isAlive()) return undefined;
            return { done: await work(resident, turn) };
          },
          { process: resident.session, width, background, isShared },
        );
        if (computed !== undefined) return { done: computed.done, loadMs, queueMs };
      } catch (error) {
        const lacksSequence = error instanceof ChildFailure && error.code === "no_sequence";
        models.computingFailed(use.resident, error);
        if (!lacksSequence || !mayShare) throw toComputeError(name, error);
        mayShare = false;
      } finally {
        use.release();
      }
    }
  }

  return {
    async generate(request, sink, signal) {
      const calledAt = now();
      const loadable = await prepare(request.model, signal);
      const { stored, facts } = loadable;
      requireCapabilities(facts, request);
      const promptCacheBytes = request.cachePrompt === false ? 0 : parts.promptCacheBytes;
      const childRequest = { ...prepareRequest(stored, request), ...defined({ promptCacheBytes }) };
      if (!isResident(models, stored, request.contextTokens)) sink.phase("loading");
      let firstTokenAt: number | undefined;
      const onEvent = (event: ChildEvent) => {
        if (event.type === "phase") sink.phase(event.phase);
        if (event.type !== "delta") return;
        firstTokenAt ??= now();
        if (event.thinking !== undefined) sink.thinking(event.thinking);
        if (event.text !== undefined) sink.text(event.text);
        if (event.call !== undefined) sink.toolCall?.(event.call);
      };
      const work = async (resident: Resident, turn: Turn) => {
        const { session } = resident;
        const onSent = turn.pausable.bind(turn);
        const answer = await callWithStallDetection(session, childRequest, stallMs, onEvent, signal, onSent);
        const { promptTokens, cachedPromptTokens, restoredPromptTokens } = answer;
        resident.lastPrompt = { promptTokens, cachedPromptTokens, restoredPromptTokens };
        return answer;
      };
      const { done, loadMs, queueMs } = await compute(loadable, request, signal, work, request, true);
      const endedAt = now();
      return {
        ...generationOf(done, request),
        loadMs,
        queueMs,
        firstTokenMs: (firstTokenAt ?? endedAt) - calledAt,
        totalMs: endedAt - calledAt,
      };
    },

    async embed(model, inputs, signal) {
      const loadable = await prepare(model, signal);
      const { stored, facts } = loadable;
      if (!facts.capabilities.includes("embedding")) {
        throw new UnsupportedCapability(`${stored.name} does not support embeddings`, {
          next: [
            { step: "listModels", capability: "embedding" },
            { step: "pullModel", model: "nomic-embed-text", because: "a small embedding model" },
          ],
        });
      }
      const windowTokens = facts.contextTokens ?? embeddingContextTokens;
      const embedWith = async (contextTokens: number) => {
        const options = { contextTokens: Math.min(windowTokens, contextTokens) };
        // An embedding reports no progress before its end.
        const boundMs = stallMs + readingMs({ messages: inputs.map((content) => ({ role: "user", content })) });
        const { done } = await compute(loadable, options, signal, ({ session }) =>
          callWithStallDetection(session, { type: "embed", inputs }, boundMs, () => undefined, signal),
        );
        return done;
      };
      try {
        return await embedWith(embeddingContextTokens);
      } catch (error) {
        if (!(error instanceof PromptTooLong) || error.contextTokens >= windowTokens) throw error;
        return await embedWith(2 ** Math.ceil(Math.log2(error.promptTokens + 1)));
      }
    },
  };
}

function isResident(models: Models, stored: StoredModel, contextTokens: number): boolean {
  const resident = models.find(stored);
  return resident !== undefined && resident.session.isAlive() && resident.contextTokens >= contextTokens;
}

function requireCapabilities(
  { name, capabilities }: ModelFacts,
  { think, tools = [], toolChoice }: Pick<GenerationRequest, "think" | "tools" | "toolChoice">,
): void {
  if (!capabilities.includes("completion")) {
    throw new UnsupportedCapability(`${name} does not generate text`, {
      next: { step: "listModels", capability: "completion" },
    });
  }
  if (think !== undefined && think !== false && !capabilities.includes("thinking")) {
    throw new UnsupportedCapability(`${name} does not support thinking`, {
      next: [
        { step: "omitArgument", argument: "think" },
        { step: "listModels", capability: "thinking" },
      ],
    });
  }
  if (tools.length > 0 && toolChoice !== "none" && !capabilities.includes("tools")) {
    throw new UnsupportedCapability(`${name} does not support tools: its chat template has none`, {
      next: { step: "listModels", capability: "tools" },
    });
  }
}

function generationOf({ thinking, toolCalls, stopText, ...done }: GenerateDone, { sampling }: GenerationRequest) {
  return {
    ...done,
    ...(toolCalls.length > 0 && { toolCalls: toolCalls.map((call) => ({ id: `call_${randomUUID()}`, ...call })) }),
    ...(thinking !== "" && { thinking }),
    // The model's own stop texts are the end of an answer.
    ...(stopText !== undefined && sampling.stop?.includes(stopText) === true && { stopText }),
  };
}

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
}): NonNullable<Engine["tokenizer"]> {
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
