import * as z from "zod";
import { type BatchAnswer, type BatchItem, batchStates } from "../api/facade-batches.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { CallerContext } from "../api/types.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { openDocument } from "../storage/document.ts";
import { defined } from "../util/defined.ts";
import { isRecord } from "../util/parse-json.ts";

/** Written by this program alone: only its kind is checked. */
const own = <Value>() => z.custom<Value>(isRecord);

const head = z.object({
  createdAt: z.iso.datetime(),
  /** For people: `ask 200 texts`. */
  title: z.string(),
  endedAt: z.iso.datetime().exactOptional(),
  request: own<GenerateRequest>(),
  /** Who asks, for a daemon that continues it. */
  caller: own<Omit<CallerContext, "signal" | "configured" | "warnings">>(),
  /** Without their texts once it has ended. */
  items: z.array(own<BatchItem>()),
  questions: z.array(z.string()).exactOptional(),
  sample: z.number().exactOptional(),
  limit: z.number().exactOptional(),
  reduce: z.string().exactOptional(),
  when: z.string().exactOptional(),
  output: z.string().exactOptional(),
  /** Answers of earlier runs. */
  kept: z.number(),
});

/** `prompt`: its place among the prompts, those of an item in sequence. */
const answer = z.object({
  prompt: z.int().min(0),
  state: z.enum(batchStates),
  text: z.string().exactOptional(),
  why: z.string().exactOptional(),
  where: z.record(z.string(), z.string()).exactOptional(),
  model: z.string().exactOptional(),
  promptTokens: z.number().exactOptional(),
  completionTokens: z.number().exactOptional(),
  ms: z.number().exactOptional(),
});

const state = z.object({ head: head.exactOptional(), answers: z.array(answer) });
const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("started"), head }),
  z.object({ type: z.literal("answered"), answer }),
  z.object({ type: z.literal("ended"), at: z.iso.datetime() }),
]);

export type BatchHead = z.output<typeof head>;
export type KeptAnswer = z.output<typeof answer>;
type State = z.output<typeof state>;

/** A batch with its answers, in a document of its own beside its job's. */
export function openBatch(id: string, log: Log, files: DocumentFiles | undefined) {
  return openDocument<State, z.output<typeof event>>({
    name: `${id}.work`,
    schemaVersion: 1,
    empty: () => ({ answers: [] }),
    state,
    event,
    apply(kept, next) {
      if (next.type === "started") kept.head = next.head;
      else if (next.type === "answered") kept.answers.push(next.answer);
      else if (kept.head !== undefined) {
        const items = kept.head.items.map(({ text: _text, prompt: _prompt, ...item }) => item);
        kept.head = { ...kept.head, items, endedAt: next.at };
      }
    },
    snapshot: ({ answers, ...rest }) => ({ ...rest, answers: [...answers] }),
    log,
    ...defined({ files }),
  });
}

/** The last answer to each prompt, by its place. */
export function lastAnswers({ answers }: Pick<State, "answers">): ReadonlyMap<number, KeptAnswer> {
  return new Map(answers.map((each) => [each.prompt, each]));
}

/** Answers for people and programs, in the order of the items. */
export function shownAnswers({ head: kept, answers }: State): readonly BatchAnswer[] {
  const { items = [], questions = [] } = kept ?? {};
  const each = Math.max(1, questions.length);
  return [...lastAnswers({ answers }).values()]
    .toSorted((a, b) => a.prompt - b.prompt)
    .map(({ prompt, ...rest }) => ({
      item: items[Math.floor(prompt / each)]?.name ?? "",
      ...defined({ question: questions[prompt % each] }),
      ...rest,
    }));
}
