import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cancelled, OrchestratorError, PromptTooLong, UnknownModel } from "../src/orchestrator/api/errors.ts";
import type { Engine, EngineResidency } from "../src/orchestrator/engines/engine.ts";
import type { Generation, GenerationRequest } from "../src/orchestrator/engines/generation.ts";
import type { JsonSchema } from "../src/orchestrator/api/types.ts";
import { describeToolRules, type HeardCall, toolRules } from "./engine-contract-tools.ts";

/** Rules for every adapter; a divergence names one of them. */
const contractRules = [
  "health returns a version",
  "health never throws, even when aborted",
  "the list contains the chat model with its size",
  "describe returns context, layers, vocabulary and capabilities",
  "every method throws UnknownModel with next steps for an unknown model",
  "the concatenation of a generation's deltas is its text",
  "a generation reports usage and timings",
  "a generation that runs out of tokens finishes with length, one that ends with stop",
  "a system message reaches the model",
  "an answer with a JSON schema is JSON that matches it",
  "of choices it says how likely each is",
  "a model is listed as loaded from its load to its unload",
  "a load has the context and the memory that the load rules predict",
  "loading a loaded model is cheap",
  "unloading a model that is not loaded succeeds",
  "a cancelled generation rejects with Cancelled, and the next one succeeds",
  "an aborted signal rejects with Cancelled at once",
  "a prompt longer than the context throws PromptTooLong with both numbers",
  "a local GGUF is imported, listed and removed",
  "importing a missing file fails",
  "embeddings have one vector per input, in order",
  "two concurrent generations finish with their own answers",
  "closing twice succeeds",
  ...toolRules,
] as const;

export type ContractRule = (typeof contractRules)[number];

export interface EngineContract {
  /** For the test report: `ollama (fake)`. */
  readonly name: string;
  /** Called once for the whole suite; `dispose` runs after the engine is closed. */
  readonly create: () => Promise<{ readonly engine: Engine; readonly dispose?: () => Promise<void> }>;
  readonly models: {
    /** Must be installed and have a window of at least 2,048 tokens. */
    readonly chat: string;
    /** May be the chat model, if the engine can embed with it. */
    readonly embedding?: string;
    /** One with tools, and one that thinks, too. Absent: the rules about them are skipped. */
    readonly tools?: string;
    readonly thinkingTools?: string;
  };
  /** A small GGUF (absolute path) that the engine's import accepts. */
  readonly importable?: () => Promise<string>;
  /** Rules that this adapter does not follow, reported as skipped with the reason. */
  readonly divergences?: readonly { readonly rule: ContractRule; readonly reason: string }[];
  /** Timeout of one rule in milliseconds; default 120,000. */
  readonly timeoutMs?: number;
}

const contextTokens = 2_048;
const never = new AbortController().signal;

/** Registers the suite for one adapter. All rules share one engine, in order, because loading real weights takes time. */
export function describeEngineContract(contract: EngineContract): void {
  describe(`engine contract: ${contract.name}`, () => {
    let engine: Engine;
    let dispose: (() => Promise<void>) | undefined;
    const { chat } = contract.models;

    beforeAll(async () => {
      ({ engine, dispose } = await contract.create());
    }, contract.timeoutMs ?? 120_000);

    afterAll(async () => {
      await engine.close();
      await dispose?.();
    }, 30_000);

    const rule = (name: ContractRule, check: () => Promise<void>, missing?: string): void => {
      const reason = contract.divergences?.find((divergence) => divergence.rule === name)?.reason ?? missing;
      if (reason === undefined) it(name, check, contract.timeoutMs ?? 120_000);
      else it.skip(`${name} (not here: ${reason})`, check);
    };

    const ask = async (request: Partial<GenerationRequest>, signal = never, onCall = () => {}) => {
      const heard = { text: "", thinking: "", deltas: 0, phases: [] as string[], calls: [] as HeardCall[] };
      const generation: Generation = await engine.generate(
        {
          model: chat,
          messages: [{ role: "user", content: "Name three colours." }],
          maxTokens: 24,
          sampling: { temperature: 0, seed: 7 },
          contextTokens,
          ...request,
        },
        {
          text: (delta) => {
            heard.text += delta;
            heard.deltas += 1;
          },
          thinking: (delta) => {
            heard.thinking += delta;
          },
          toolCall: ({ index, name, arguments: json }) => {
            // The first delta of a call, and that alone, has its name.
            expect(name === undefined).toBe(index < heard.calls.length);
            const call = (heard.calls[index] ??= { name: name ?? "", arguments: "", deltas: 0 });
            call.arguments += json;
            call.deltas += 1;
            onCall();
          },
          phase: (phase) => heard.phases.push(phase),
        },
        signal,
      );
      return { generation, heard };
    };

    rule("health returns a version", async () => {
      const health = await engine.health(never);
      expect(health.isReachable).toBe(true);
      expect(health.version).toMatch(/\d/);
    });

    rule("health never throws, even when aborted", async () => {
      const health = await engine.health(AbortSignal.abort());
      expect(typeof health.isReachable).toBe("boolean");
    });

    rule("the list contains the chat model with its size", async () => {
      const listed = (await engine.list(never)).find((model) => model.name === chat);
      expect(listed?.sizeBytes).toBeGreaterThan(0);
      expect(listed?.trust).toBe(engine.trust);
    });

    rule("describe returns context, layers, vocabulary and capabilities", async () => {
      const facts = await engine.describe(chat, never);
      expect(facts.name).toBe(chat);
      expect(facts.contextTokens).toBeGreaterThanOrEqual(contextTokens);
      expect(facts.layerCount).toBeGreaterThan(0);
      expect(facts.embeddingLength).toBeGreaterThan(0);
      expect(facts.vocabularySize).toBeGreaterThan(0);
      expect(facts.sizeBytes).toBeGreaterThan(0);
      expect(facts.capabilities).toContain("completion");
      expect(facts.metadata?.[`${facts.architecture}.block_count`]).toBe(facts.layerCount);
    });

    rule("every method throws UnknownModel with next steps for an unknown model", async () => {
      const model = "no-such-model:1b";
      const calls: Promise<unknown>[] = [engine.describe(model, never), ask({ model })];
      if (engine.residency) calls.push(engine.residency.load(model, { contextTokens }, () => {}, never));
      if (engine.library) calls.push(engine.library.remove(model, never));
      if (engine.embedding) calls.push(engine.embedding.embed(model, ["x"], never));
      for (const outcome of await Promise.allSettled(calls)) {
        const error: unknown = outcome.status === "rejected" ? outcome.reason : outcome;
        expect(error).toBeInstanceOf(UnknownModel);
        expect((error as UnknownModel).message).toContain(model);
        expect((error as UnknownModel).next).not.toEqual([]);
      }
    });

    rule("the concatenation of a generation's deltas is its text", async () => {
      const { generation, heard } = await ask({ maxTokens: 32 });
      expect(generation.text).not.toBe("");
      expect(heard.text).toBe(generation.text);
      expect(heard.thinking).toBe(generation.thinking ?? "");
      expect(heard.deltas).toBeGreaterThan(1);
      expect(heard.phases.at(-1)).toBe("decode");
    });

    rule("a generation reports usage and timings", async () => {
      const { generation } = await ask({ maxTokens: 16 });
      expect(generation.promptTokens).toBeGreaterThan(0);
      expect(generation.completionTokens).toBeGreaterThan(0);
      expect(generation.completionTokens).toBeLessThanOrEqual(16);
      for (const ms of [generation.loadMs, generation.prefillMs, generation.decodeMs, generation.firstTokenMs])
        expect(ms).toBeGreaterThanOrEqual(0);
      expect(generation.totalMs).toBeGreaterThanOrEqual(generation.firstTokenMs);
    });

    rule("a generation that runs out of tokens finishes with length, one that ends with stop", async () => {
      const short = await ask({ maxTokens: 2 });
      expect(short.generation.finishReason).toBe("length");
      expect(short.generation.completionTokens).toBeLessThanOrEqual(2);
      const stopped = await ask({ maxTokens: 256, sampling: { temperature: 0, stop: ["e"] } });
      expect(stopped.generation.finishReason).toBe("stop");
      expect(stopped.generation.text).not.toContain("e");
    });

    rule("a system message reaches the model", async () => {
      const user = { role: "user", content: "Hello." } as const;
      const without = await ask({ messages: [user], maxTokens: 1 });
      const system = { role: "system", content: "You are a lighthouse keeper and like the sea. ".repeat(12) } as const;
      const withSystem = await ask({ messages: [system, user], maxTokens: 1 });
      expect(withSystem.generation.promptTokens).toBeGreaterThan(without.generation.promptTokens + 50);
    });

    rule("an answer with a JSON schema is JSON that matches it", async () => {
      const format: JsonSchema = {
        type: "object",
        properties: { colour: { type: "string", enum: ["red", "green"] }, isWarm: { type: "boolean" } },
        required: ["colour", "isWarm"],
        additionalProperties: false,
      };
      const { generation } = await ask({ format, maxTokens: 128 });
      const value = JSON.parse(generation.text) as Record<string, unknown>;
      expect(Object.keys(value).toSorted()).toEqual(["colour", "isWarm"]);
      expect(["red", "green"]).toContain(value["colour"]);
      expect(typeof value["isWarm"]).toBe("boolean");
    });

    rule("of choices it says how likely each is", async () => {
      const word = /[a-z]+/i.exec((await ask({ maxTokens: 4 })).generation.text)?.[0].toLowerCase() ?? "";
      const { generation } = await ask({ maxTokens: 1, choices: [word, "qqqq"] });
      const { [word]: likely = 0, qqqq = 1 } = generation.likelihoods ?? {};
      expect(likely).toBeGreaterThan(qqqq);
      expect(likely + qqqq).toBeLessThan(1.001);
      expect(generation.completionTokens).toBe(1);
    });

    const residencyOf = (): EngineResidency => {
      if (!engine.residency) throw new Error("the engine has no residency: declare the divergence");
      return engine.residency;
    };

    rule("a model is listed as loaded from its load to its unload", async () => {
      const residency = residencyOf();
      await residency.unload(chat, never);
      expect((await residency.loaded(never)).map((model) => model.name)).not.toContain(chat);
      const resident = await residency.load(chat, { contextTokens, keepAliveSeconds: 600 }, () => {}, never);
      expect(resident.sizeBytes).toBeGreaterThan(0);
      expect(resident.contextTokens).toBe(contextTokens);
      const listed = (await residency.loaded(never)).find((model) => model.name === chat);
      expect(listed?.sizeBytes).toBeGreaterThan(0);
      await residency.unload(chat, never);
      expect((await residency.loaded(never)).map((model) => model.name)).not.toContain(chat);
    });

    rule("a load has the context and the memory that the load rules predict", async () => {
      const { residency } = engine;
      if (!residency) throw new Error("the engine has no residency: declare the divergence");
      const facts = await engine.describe(chat, never);
      const resident = await residency.load(chat, { contextTokens }, () => {}, never);
      const { parallel, ...load } = residency.loadShape(facts, contextTokens);
      expect(resident.contextTokens).toBe(load.contextTokens);
      expect(parallel).toBeGreaterThanOrEqual(1);
      if (engine.usesCards !== true) expect(resident.vramBytes).toBe(0);
      const served = residency.processOf(facts);
      expect(served).toEqual(residency.processOf(await engine.describe(chat, never)));
      const other = contract.models.embedding;
      if (served !== undefined && other !== undefined && other !== chat)
        expect(residency.processOf(await engine.describe(other, never))?.slot).not.toBe(served.slot);
    });

    rule("loading a loaded model is cheap", async () => {
      const residency = residencyOf();
      const firstAt = performance.now();
      await residency.load(chat, { contextTokens }, () => {}, never);
      const secondAt = performance.now();
      const second = await residency.load(chat, { contextTokens }, () => {}, never);
      // A second suffices for a tiny model on a busy machine; reloading real weights takes as long as the first load.
      expect(performance.now() - secondAt).toBeLessThan(Math.max(1_000, (secondAt - firstAt) / 2));
      expect(second.contextTokens).toBe(contextTokens);
      expect((await residency.loaded(never)).filter((model) => model.name === chat)).toHaveLength(1);
    });

    rule("unloading a model that is not loaded succeeds", async () => {
      const residency = residencyOf();
      await residency.unload(chat, never);
      await residency.unload(chat, never);
      await residency.unload("no-such-model:1b", never);
    });

    rule("a cancelled generation rejects with Cancelled, and the next one succeeds", async () => {
      const controller = new AbortController();
      let heard = 0;
      const cancelled = engine.generate(
        {
          model: chat,
          messages: [{ role: "user", content: "Write a long story about the sea." }],
          maxTokens: 512,
          sampling: { temperature: 0 },
          contextTokens,
        },
        {
          text: () => {
            heard += 1;
            controller.abort();
          },
          thinking: () => {},
          phase: () => {},
        },
        controller.signal,
      );
      await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
      expect(heard).toBe(1);
      const { generation } = await ask({ maxTokens: 4 });
      expect(generation.text).not.toBe("");
    });

    rule("an aborted signal rejects with Cancelled at once", async () => {
      const aborted = AbortSignal.abort();
      const calls: Promise<unknown>[] = [engine.list(aborted), engine.describe(chat, aborted), ask({}, aborted)];
      if (engine.residency) {
        calls.push(engine.residency.loaded(aborted), engine.residency.unload(chat, aborted));
        calls.push(engine.residency.load(chat, { contextTokens }, () => {}, aborted));
      }
      if (engine.library) {
        calls.push(engine.library.pull("smollm2:135m", () => {}, aborted));
        calls.push(engine.library.remove(chat, aborted));
      }
      if (engine.embedding) calls.push(engine.embedding.embed(chat, ["x"], aborted));
      for (const outcome of await Promise.allSettled(calls))
        expect(outcome.status === "rejected" ? outcome.reason : outcome).toBeInstanceOf(Cancelled);
    });

    rule("a prompt longer than the context throws PromptTooLong with both numbers", async () => {
      const content = "Every word counts in this sentence. ".repeat(600);
      const error: unknown = await ask({ messages: [{ role: "user", content }] }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(PromptTooLong);
      const tooLong = error as PromptTooLong;
      expect(tooLong.contextTokens).toBe(contextTokens);
      expect(tooLong.promptTokens).toBeGreaterThan(contextTokens);
      expect(tooLong.message).toContain(String(tooLong.promptTokens));
      expect(tooLong.message).toContain(String(contextTokens));
      expect(tooLong.next).not.toEqual([]);
    });

    rule(
      "a local GGUF is imported, listed and removed",
      async () => {
        const file = (await contract.importable?.()) ?? "";
        const library = engine.library;
        if (!library) throw new Error("the engine has no library: declare the divergence");
        const name = "contract-import:tiny";
        const messages: string[] = [];
        const imported = await library.import(file, name, (progress) => messages.push(progress.message), never);
        expect(imported).toMatchObject({ name, wasAlreadyPresent: false });
        expect(imported.sizeBytes).toBeGreaterThan(0);
        expect(messages.length).toBeGreaterThan(0);
        expect((await engine.list(never)).map((model) => model.name)).toContain(name);
        const again = await library.import(file, name, () => {}, never);
        expect(again.wasAlreadyPresent).toBe(true);
        expect((await library.remove(name, never)).freedBytes).toBeGreaterThan(0);
        expect((await engine.list(never)).map((model) => model.name)).not.toContain(name);
      },
      contract.importable ? undefined : "no importable file was given",
    );

    rule("importing a missing file fails", async () => {
      const outcome = engine.library?.import("/no/such/file.gguf", "contract-import:missing", () => {}, never);
      await expect(outcome).rejects.toBeInstanceOf(OrchestratorError);
      await expect(outcome).rejects.toThrow("/no/such/file.gguf");
    });

    rule(
      "embeddings have one vector per input, in order",
      async () => {
        const model = contract.models.embedding ?? "";
        const embed = async (inputs: readonly string[]) => {
          if (!engine.embedding) throw new Error("the engine has no embedding: declare the divergence");
          return await engine.embedding.embed(model, inputs, never);
        };
        const [first, second] = ["The cat sleeps on the sofa.", "Interest rates rose again in March."];
        const both = await embed([first, second]);
        expect(both.vectors).toHaveLength(2);
        expect(both.promptTokens).toBeGreaterThan(0);
        const single = await embed([second]);
        expect(cosine(both.vectors[1], single.vectors[0])).toBeGreaterThan(0.99);
        expect(cosine(both.vectors[0], single.vectors[0])).toBeLessThan(cosine(both.vectors[1], single.vectors[0]));
      },
      contract.models.embedding === undefined ? "no embedding model was given" : undefined,
    );

    rule("two concurrent generations finish with their own answers", async () => {
      const [first, second] = await Promise.all([
        ask({ messages: [{ role: "user", content: "Count from one to ten." }] }),
        ask({ messages: [{ role: "user", content: "Name three animals." }] }),
      ]);
      for (const { generation, heard } of [first, second]) {
        expect(generation.text).not.toBe("");
        expect(heard.text).toBe(generation.text);
      }
    });

    const { tools: model, thinkingTools: thinkingModel } = contract.models;
    describeToolRules({ rule, ask, engine: () => engine, model, thinkingModel });

    rule("closing twice succeeds", async () => {
      await engine.close();
      await engine.close();
    });
  });
}

function cosine(left: readonly number[] = [], right: readonly number[] = []): number {
  const dot = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
  return dot(left, right) / Math.sqrt(dot(left, left) * dot(right, right));
}
