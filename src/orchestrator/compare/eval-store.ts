import * as z from "zod";
import type { Log } from "../api/log.ts";
import { tasks } from "../api/types.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { openDocument } from "../storage/document.ts";
import { defined } from "../util/values.ts";

const head = z.object({
  id: z.string(),
  name: z.string(),
  /** Cases, models and judge: the same request continues an eval that was interrupted. */
  digest: z.string(),
  createdAt: z.iso.datetime(),
  endedAt: z.iso.datetime().exactOptional(),
  models: z.array(z.string()),
  judge: z.string().exactOptional(),
  cases: z.array(
    z.object({
      name: z.string(),
      task: z.enum(tasks),
      profile: z.string(),
      by: z.enum(["values", "format", "quotes", "command", "judge", "nothing"]),
    }),
  ),
  /** About the cases, and about the last run. */
  notes: z.array(z.string()),
  runNotes: z.array(z.string()),
});

const answer = z.object({
  eval: z.string(),
  /** Its place among the cases. */
  case: z.int().min(0),
  model: z.string(),
  /** Absent: the model failed. */
  text: z.string().exactOptional(),
  /** Absent: not known, or nothing is expected. */
  isRight: z.boolean().exactOptional(),
  /** The judge has not been asked yet. */
  isPending: z.literal(true).exactOptional(),
  why: z.string().exactOptional(),
  ms: z.number().exactOptional(),
  tokensPerSecond: z.number().exactOptional(),
  memoryBytes: z.number().exactOptional(),
  cost: z
    .object({
      amount: z.number(),
      currency: z.string(),
      date: z.string(),
      isEstimated: z.literal(true).exactOptional(),
    })
    .exactOptional(),
  isContended: z.literal(true).exactOptional(),
});

const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("started"), head }),
  z.object({ type: z.literal("answered"), answer }),
  z.object({
    type: z.literal("ended"),
    id: z.string(),
    at: z.iso.datetime().exactOptional(),
    notes: z.array(z.string()),
  }),
  z.object({ type: z.literal("removed"), id: z.string() }),
]);

const state = z.object({ evals: z.array(head), answers: z.array(answer) });
export type State = z.output<typeof state>;

export const maxEvals = 20;
/** All evals together; the newest one is always whole. */
const maxAnswers = 100_000;
/** Evals and all answers, in `evals.json`. */
export function openEvals(log: Log, files: DocumentFiles | undefined) {
  return openDocument<State, z.output<typeof event>>({
    name: "evals",
    schemaVersion: 1,
    empty: () => ({ evals: [], answers: [] }),
    state,
    event,
    apply: applyEval,
    snapshot: ({ evals, answers }) => ({ evals: [...evals], answers: [...answers] }),
    rows: { evals: head, answers: answer },
    log,
    ...defined({ files }),
  });
}

/** The last answer to each case of each model. */
export function answersOf({ answers }: State, id: string): State["answers"] {
  const found = new Map<string, State["answers"][number]>();
  for (const each of answers) if (each.eval === id) found.set(`${each.case} ${each.model}`, each);
  return [...found.values()];
}

/** Changes the state by one event; later answers to the same case count, and stand behind the earlier ones. */
function applyEval(kept: State, next: z.output<typeof event>): void {
  if (next.type === "answered") {
    kept.answers.push(next.answer);
    return;
  }
  if (next.type === "ended") {
    const { id, at, notes } = next;
    kept.evals = kept.evals.map((each) =>
      each.id === id ? { ...each, ...defined({ endedAt: at }), runNotes: notes } : each,
    );
    return;
  }
  if (next.type === "removed") kept.evals = kept.evals.filter(({ id }) => id !== next.id);
  else {
    kept.evals = [...kept.evals, next.head];
    const counts = new Map<string, number>();
    for (const each of kept.answers) counts.set(each.eval, (counts.get(each.eval) ?? 0) + 1);
    const isFull = (): boolean =>
      kept.evals.length > maxEvals || kept.evals.reduce((sum, { id }) => sum + (counts.get(id) ?? 0), 0) > maxAnswers;
    while (kept.evals.length > 1 && isFull()) {
      const older = kept.evals.slice(0, -1);
      // One without an end may be running.
      const gone = older.find(({ endedAt }) => endedAt !== undefined) ?? older[0];
      kept.evals = kept.evals.filter((each) => each !== gone);
    }
  }
  const held = new Set(kept.evals.map(({ id }) => id));
  kept.answers = kept.answers.filter((each) => held.has(each.eval));
}
