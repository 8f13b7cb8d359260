import { randomUUID } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import * as z from "zod";
import {
  type Comparison,
  type Rating,
  type TrainingMaterial,
  type TrainingRequest,
  type TrainingSource,
  trainingSources,
} from "../api/facade-compare.ts";
import type { GenerateResult } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import { type Task, tasks } from "../api/types.ts";
import type { Recorder } from "../generation/ports.ts";
import { buildMessages } from "../generation/prompt.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { openDocument, openedOnce } from "../storage/document.ts";
import { oneLine } from "../util/control-characters.ts";
import { defined, messageOf } from "../util/values.ts";
import { sameModel } from "../util/model-name.ts";

const message = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });

const entry = z.object({
  id: z.string(),
  at: z.iso.datetime(),
  task: z.enum(tasks),
  model: z.string(),
  /** With the question last. */
  messages: z.array(message),
  answer: z.string(),
  /** Its check passed. */
  isVerified: z.literal(true).exactOptional(),
  /** By the user; absent: not rated. */
  isGood: z.boolean().exactOptional(),
});
type Entry = z.output<typeof entry>;

const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("recorded"), entry }),
  z.object({ type: z.literal("rated"), id: z.string(), isGood: z.boolean() }),
]);
const state = z.object({ entries: z.array(entry) });

const maxEntries = 2_000;
/** Characters of one entry; a longer one is not recorded, since half of it would teach half an answer. */
const maxEntryCharacters = 64 * 1024;
/** Characters of all, so that the document loads quickly. */
const maxCharacters = 16_000_000;
/** A rating is about an answer of the last hour, as everywhere. */
const ratedWithinMs = 3_600_000;

const sizeOf = ({ messages, answer }: Pick<Entry, "messages" | "answer">): number =>
  messages.reduce((sum, { content }) => sum + content.length, answer.length);

/** Recorded answers, in `training.json`. */
function openTraining(log: Log, files: DocumentFiles | undefined) {
  return openDocument<z.output<typeof state>, z.output<typeof event>>({
    name: "training",
    schemaVersion: 1,
    empty: () => ({ entries: [] }),
    state,
    event,
    apply: applyTraining,
    snapshot: ({ entries }) => ({ entries: [...entries] }),
    rows: { entries: entry },
    log,
    ...defined({ files }),
  });
}

/** The oldest go. */
export function applyTraining(kept: z.output<typeof state>, next: z.output<typeof event>): void {
  if (next.type === "rated") {
    kept.entries = kept.entries.map((each) => (each.id === next.id ? { ...each, isGood: next.isGood } : each));
    return;
  }
  kept.entries.push(next.entry);
  let characters = kept.entries.reduce((sum, each) => sum + sizeOf(each), 0);
  while (kept.entries.length > maxEntries || characters > maxCharacters) {
    const [oldest] = kept.entries.splice(0, 1);
    characters -= oldest === undefined ? characters : sizeOf(oldest);
  }
}

type Recorded = Parameters<NonNullable<Recorder["record"]>>;

/**
 * Records answers for which the user has turned it on, and makes files for training of those that are rated or verified, and
 * of picks. Only its texts leave the way of a prompt, which waits for none of this.
 */
export function createTraining(parts: {
  readonly log: Log;
  readonly now: () => number;
  readonly tasks: () => readonly Task[];
  /** What kind of secret a text has, without the secret. */
  readonly findSecret: (text: string) => string | undefined;
  readonly files?: DocumentFiles;
}) {
  const { log, now, files, findSecret } = parts;
  const open = () => openedOnce(() => openTraining(log, files));
  let document = open();
  /** One after the other: a rating finds the answer before it, and nothing is recorded while all is deleted. */
  let working: Promise<unknown> = Promise.resolve();
  function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = working.then(work);
    working = done.catch(() => undefined);
    return done;
  }
  const orWarn = (work: Promise<unknown>) => work.catch((error: unknown) => log.warn(`training: ${messageOf(error)}`));

  return {
    record(...[asked, result]: Recorded): void {
      const found = parts.tasks().includes(result.route.task) ? entryOf(asked, result) : undefined;
      if (found === undefined) return;
      const recorded = { id: randomUUID(), at: new Date(now()).toISOString(), ...found };
      void orWarn(inTurn(async () => (await document.get()).append({ type: "recorded", entry: recorded })));
    },
    /** Marks the newest answer of the model to this kind of task. Never rejects: the rating itself is kept elsewhere. */
    rate: ({ task, model, isGood }: Rating) =>
      orWarn(
        inTurn(async () => {
          const { state: kept, append } = await document.get();
          const since = new Date(now() - ratedWithinMs).toISOString();
          const isMeant = (each: Entry) => each.task === task && sameModel(each.model, model) && each.at >= since;
          const rated = kept.entries.findLast(isMeant);
          if (rated !== undefined) await append({ type: "rated", id: rated.id, isGood });
        }),
      ),
    async material(request: TrainingRequest, comparisons: readonly Comparison[], isLocal: (engine: string) => boolean) {
      const { entries } = await inTurn(async () => (await document.get()).state);
      const found = [...entries.flatMap(candidateOf), ...comparisons.flatMap((each) => pickOf(each, isLocal))];
      return materialOf(found, request, findSecret);
    },
    /** Deletes the files: an event would leave the texts in the journal. Returns how many answers there were. */
    forget: () =>
      inTurn(async () => {
        const opened = await document.get();
        const count = opened.state.entries.length;
        await opened.close();
        document = open();
        for (const name of ["training.json", "training.journal"]) await files?.remove(name);
        return count;
      }),
    get problems() {
      return document.problems();
    },
    close: () => inTurn(() => document.close()),
  };
}

/**
 * The answer with what was asked, as messages. Undefined for what is not recorded: an answer of another machine, whose
 * provider's terms may forbid it; what is asked to compare models; an answer that was cut; what a text can't hold.
 */
function entryOf(
  { request, thread, world }: Recorded[0],
  { text, model, isRemote, finishReason, check, route }: GenerateResult,
): Omit<Entry, "id" | "at"> | undefined {
  const { images = [], audio = [] } = request;
  if (isRemote === true || world.isCompared === true || images.length + audio.length > 0) return undefined;
  if (finishReason !== "stop" || text.trim() === "") return undefined;
  const messages = buildMessages(request, defined({ history: thread?.history })).flatMap(({ role, content }) =>
    role === "tool" ? [] : [{ role, content }],
  );
  const found = {
    task: route.task,
    model,
    messages,
    answer: unmarked(text, check),
    ...(check !== undefined && check.problem === undefined && { isVerified: true as const }),
  };
  return sizeOf(found) > maxEntryCharacters ? undefined : found;
}

/** Without the marks that a check puts behind statements, which a model would learn to write. */
function unmarked(text: string, check: GenerateResult["check"]): string {
  const statements = check?.statements ?? [];
  const isMarked = statements[0] !== undefined && text.startsWith(statements[0].text);
  return isMarked ? statements.map((each) => each.text).join("\n") : text;
}

interface Candidate extends Pick<Entry, "at" | "task" | "model" | "messages" | "answer"> {
  readonly place: string;
  readonly sources: readonly TrainingSource[];
  /** Why it can't be used. */
  readonly reason?: string;
}

function candidateOf({ isGood, isVerified, ...rest }: Entry): readonly Candidate[] {
  const sources: readonly TrainingSource[] = [
    ...(isGood === true ? (["rated"] as const) : []),
    ...(isVerified === true && isGood !== false ? (["verified"] as const) : []),
  ];
  const place = `${rest.model}, ${rest.task}, ${rest.at.slice(0, 16).replace("T", " ")}`;
  return sources.length === 0 ? [] : [{ ...rest, place, sources }];
}

/** The answer of a comparison that the user picked. */
function pickOf(comparison: Comparison, isLocal: (engine: string) => boolean): readonly Candidate[] {
  const { id, createdAt, prompt, task, results, winner, files } = comparison;
  const picked = results.find(({ model }) => model === winner);
  if (picked === undefined) return [];
  const reason =
    files !== undefined
      ? "its files are not kept"
      : !isLocal(picked.engine)
        ? "it was answered elsewhere, and the provider's terms may forbid training"
        : (picked.finishReason ?? "stop") !== "stop" ||
            sizeOf({ messages: [], answer: picked.text + prompt }) > maxEntryCharacters
          ? "it is cut, or too long"
          : undefined;
  const messages = [{ role: "user" as const, content: prompt }];
  const place = `${id}, ${picked.model}`;
  const { model, text: answer } = picked;
  return [{ at: createdAt, task, model, messages, answer, place, sources: ["picked"], ...defined({ reason }) }];
}

/** Selects and refuses. */
async function materialOf(
  candidates: readonly Candidate[],
  { format, tasks: wanted, sources = trainingSources }: TrainingRequest,
  findSecret: (text: string) => string | undefined,
): Promise<TrainingMaterial> {
  const lines = new Map<string, Candidate & { readonly source: TrainingSource }>();
  const refused: { readonly place: string; readonly reason: string }[] = [];
  for (const each of candidates) {
    const source = sources.find((one) => each.sources.includes(one));
    if (source === undefined || wanted?.includes(each.task) === false) continue;
    // Patterns are looked for in megabytes, and other requests wait.
    await nextTurn();
    const secret = each.reason === undefined ? secretIn(each, findSecret) : undefined;
    const line = lineOf(each, format);
    const reason = each.reason ?? secret?.reason ?? (lines.has(line) ? "it repeats another" : undefined);
    if (reason === undefined) lines.set(line, { ...each, source });
    else refused.push({ place: oneLine(secret === undefined ? each.place : `${each.place}, ${secret.where}`), reason });
  }
  const used = [...lines.values()];
  const counts = {
    task: countedBy(used.map(({ task }) => task)),
    source: countedBy(used.map(({ source }) => source)),
    model: countedBy(used.map(({ model }) => oneLine(model))),
  };
  const dates = used.map(({ at }) => at.slice(0, 10)).toSorted();
  const text = [...lines.keys()].map((line) => `${line}\n`).join("");
  return { text, count: used.length, counts, refused, dates };
}

/** The first part of an entry with a secret, and its line. */
function secretIn({ messages, answer }: Candidate, findSecret: (text: string) => string | undefined) {
  const parts = { system: "system prompt", user: "question", assistant: "answer" } as const;
  for (const { role, content } of [...messages, { role: "assistant" as const, content: answer }]) {
    const what = findSecret(content);
    if (what === undefined) continue;
    const line = content.split("\n").findIndex((each) => findSecret(each) !== undefined);
    const where = line === -1 ? parts[role] : `line ${line + 1} of the ${parts[role]}`;
    return { where, reason: `it looks like it has ${what}` };
  }
  return undefined;
}

const names = { system: "system", user: "human", assistant: "gpt" } as const;

function lineOf({ messages, answer }: Candidate, format: TrainingRequest["format"]): string {
  const all = [...messages, { role: "assistant" as const, content: answer }];
  if (format === "openai") return JSON.stringify({ messages: all });
  return JSON.stringify({ conversations: all.map(({ role, content }) => ({ from: names[role], value: content })) });
}

function countedBy(values: readonly string[]): Readonly<Record<string, number>> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return Object.fromEntries([...counts].toSorted(([, a], [, b]) => b - a));
}
