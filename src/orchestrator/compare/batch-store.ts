import * as z from "zod";
import { type BatchAnswer, type BatchItem, batchAnswer, batchStep } from "../api/facade-batches.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { CallerContext } from "../api/types.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { openDocument } from "../storage/document.ts";
import { defined, isRecord } from "../util/values.ts";

/** Written by this program alone: only its kind is checked. */
const own = <Value>() => z.custom<Value>(isRecord);

const step = batchStep.extend({
  request: own<GenerateRequest>(),
  /** Without texts once it has ended, as is its request. */
  items: z.array(own<BatchItem>()).readonly(),
});

const head = z.object({
  createdAt: z.iso.datetime(),
  /** For people: `ask 200 texts`. */
  title: z.string(),
  pipeline: z.string().exactOptional(),
  endedAt: z.iso.datetime().exactOptional(),
  /** The step at which it stopped, and why. */
  stopped: z.object({ step: z.string(), why: z.string() }).exactOptional(),
  /** Who asks, for a daemon that continues it. */
  caller: own<Omit<CallerContext, "signal" | "configured" | "warnings">>(),
  /** In the order in which they run. */
  steps: z.array(step),
  /** Names, in the order in which they were written. */
  written: z.array(z.string()),
  skip: z.array(z.string()).exactOptional(),
  /** Answers of earlier runs. */
  kept: z.number(),
});

/** `prompt`: its place among the prompts of its step, those of an item in sequence. */
const answer = batchAnswer.extend({ step: z.string(), prompt: z.int().min(0) });

const state = z.object({
  head: head.exactOptional(),
  /** What each step was asked (a digest), which may depend on earlier ones. */
  asked: z.record(z.string(), z.string()),
  answers: z.array(answer),
});
const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("started"), head }),
  z.object({ type: z.literal("asked"), step: z.string(), digest: z.string() }),
  z.object({ type: z.literal("answered"), answer }),
  z.object({ type: z.literal("ended"), at: z.iso.datetime(), stopped: head.shape.stopped }),
]);

export type BatchHead = z.output<typeof head>;
export type KeptStep = z.output<typeof step>;
export type KeptAnswer = z.output<typeof answer>;
type State = z.output<typeof state>;

/** A batch with its answers, in a document of its own beside its job's. */
export function openBatch(id: string, log: Log, files: DocumentFiles | undefined) {
  return openDocument<State, z.output<typeof event>>({
    name: `${id}.work`,
    schemaVersion: 2,
    empty: () => ({ asked: {}, answers: [] }),
    state,
    event,
    apply(kept, next) {
      if (next.type === "started") kept.head = next.head;
      else if (next.type === "answered") kept.answers.push(next.answer);
      else if (next.type === "asked") {
        if (kept.asked[next.step] === next.digest) return;
        kept.asked[next.step] = next.digest;
        kept.answers = kept.answers.filter(({ step: of }) => of !== next.step);
      } else if (kept.head !== undefined) {
        const steps = kept.head.steps.map((each) => ({
          ...each,
          request: { prompt: "" },
          items: each.items.map(({ text: _text, prompt: _prompt, ...item }) => item),
        }));
        kept.head = { ...kept.head, steps, endedAt: next.at, ...defined({ stopped: next.stopped }) };
      }
    },
    snapshot: ({ answers, asked, ...rest }) => ({ ...rest, asked: { ...asked }, answers: [...answers] }),
    log,
    ...defined({ files }),
  });
}

/** The last answer to each prompt of a step, by its place. */
export function lastAnswers({ answers }: Pick<State, "answers">, of: string): ReadonlyMap<number, KeptAnswer> {
  const found = answers.filter(({ step: name }) => name === of).map((each) => [each.prompt, each] as const);
  return new Map(found.toSorted(([a], [b]) => a - b));
}

/** Answers for people and programs, step by step, in the order of the items. */
export function shownAnswers({ head: kept, answers }: State): readonly BatchAnswer[] {
  const { steps = [] } = kept ?? {};
  return steps.flatMap(({ name }) =>
    [...lastAnswers({ answers }, name).values()].map(({ prompt: _prompt, step: of, ...rest }) => ({
      ...(steps.length > 1 && { step: of }),
      ...rest,
    })),
  );
}
