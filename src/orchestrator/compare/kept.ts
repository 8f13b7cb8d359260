import * as z from "zod";
import { type JournaledDocument, openDocument } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Comparison, Preference } from "../api/facade-compare.ts";
import type { Log } from "../api/log.ts";

const task = z.enum(["code", "general", "creative", "fast", "vision", "embedding"]);
const count = z.number().min(0);

const comparedModel = z.object({
  model: z.string(),
  engine: z.string(),
  text: z.string(),
  promptTokens: count.exactOptional(),
  completionTokens: count.exactOptional(),
  tokensPerSecond: count.exactOptional(),
  firstTokenMs: count.exactOptional(),
  totalMs: count.exactOptional(),
  loadMs: count.exactOptional(),
  memoryBytes: count.exactOptional(),
  finishReason: z.enum(["stop", "length", "repetition"]).exactOptional(),
  runs: count.exactOptional(),
  isContended: z.boolean().exactOptional(),
  error: z.string().exactOptional(),
});

const comparison = z.object({
  id: z.string(),
  createdAt: z.iso.datetime(),
  prompt: z.string(),
  task,
  results: z.array(comparedModel),
  order: z.string(),
  judgement: z
    .object({ judge: z.string(), ranking: z.array(z.array(z.string())), reason: z.string(), note: z.string() })
    .exactOptional(),
  files: z.array(z.string()).exactOptional(),
  notes: z.array(z.string()).exactOptional(),
  winner: z.string().exactOptional(),
}) satisfies z.ZodType<Comparison>;

const preference = z.object({
  task,
  model: z.string(),
  comparisonId: z.string(),
  pickedAt: z.iso.datetime(),
}) satisfies z.ZodType<Preference>;

type ComparisonEvent =
  | { readonly type: "compared"; readonly comparison: Comparison }
  /** Without a model: the pick was undone. */
  | { readonly type: "picked"; readonly id: string; readonly model?: string };

type PreferenceEvent =
  | { readonly type: "preferred"; readonly preference: Preference }
  | { readonly type: "undone"; readonly task: Preference["task"] };

const comparisonEvent: z.ZodType<ComparisonEvent> = z.discriminatedUnion("type", [
  z.object({ type: z.literal("compared"), comparison }),
  z.object({ type: z.literal("picked"), id: z.string(), model: z.string().exactOptional() }),
]);

const preferenceEvent: z.ZodType<PreferenceEvent> = z.discriminatedUnion("type", [
  z.object({ type: z.literal("preferred"), preference }),
  z.object({ type: z.literal("undone"), task }),
]);

export interface ComparisonsState {
  /** Oldest first. */
  comparisons: Comparison[];
}

export interface PreferencesState {
  /** Oldest first; the newest of a task is in force. */
  preferences: Preference[];
}

/** Limit for the texts of all stored comparisons together, in characters, so that the document loads quickly. */
const maxKeptCharacters = 8_000_000;
export const maxComparisons = 100;
/** Limit for one prompt or answer, in characters; longer ones are cut, with a note at the end. */
export const maxTextCharacters = 100_000;
/** Picks stored per task; older ones can't be restored by undo. */
const maxPicks = 20;

export function openComparisons(
  log: Log,
  files: DocumentFiles | undefined,
): Promise<JournaledDocument<ComparisonsState, ComparisonEvent>> {
  return openDocument<ComparisonsState, ComparisonEvent>({
    name: "comparisons",
    schemaVersion: 1,
    empty: () => ({ comparisons: [] }),
    state: z.object({ comparisons: z.array(comparison) }),
    event: comparisonEvent,
    apply: applyComparison,
    log,
    ...(files === undefined ? {} : { files }),
  });
}

export function openPreferences(
  log: Log,
  files: DocumentFiles | undefined,
): Promise<JournaledDocument<PreferencesState, PreferenceEvent>> {
  return openDocument<PreferencesState, PreferenceEvent>({
    name: "preferences",
    schemaVersion: 1,
    empty: () => ({ preferences: [] }),
    state: z.object({ preferences: z.array(preference) }),
    event: preferenceEvent,
    apply: applyPreference,
    log,
    ...(files === undefined ? {} : { files }),
  });
}

/** Keeps the newest comparisons: `maxComparisons`, or fewer if they are large. */
export function applyComparison(state: ComparisonsState, event: ComparisonEvent): void {
  if (event.type === "compared") {
    const known = [...state.comparisons.filter(({ id }) => id !== event.comparison.id), event.comparison];
    const newest = known.slice(-maxComparisons);
    let characters = 0;
    const fitting = newest.toReversed().filter((entry, index) => {
      characters += charactersOf(entry);
      return index === 0 || characters <= maxKeptCharacters;
    });
    state.comparisons = fitting.toReversed();
    return;
  }
  state.comparisons = state.comparisons.map((entry) => {
    if (entry.id !== event.id) return entry;
    const { winner: _winner, ...rest } = entry;
    return event.model === undefined ? rest : { ...rest, winner: event.model };
  });
}

export function applyPreference(state: PreferencesState, event: PreferenceEvent): void {
  if (event.type === "preferred") {
    const same = state.preferences.filter(({ task: kind }) => kind === event.preference.task);
    const oldest = same.length >= maxPicks ? same[0] : undefined;
    state.preferences = [...state.preferences.filter((entry) => entry !== oldest), event.preference];
    return;
  }
  const last = state.preferences.findLast((entry) => entry.task === event.task);
  state.preferences = state.preferences.filter((entry) => entry !== last);
}

/** The comparison as it is stored, with texts beyond the limit cut. */
export function bounded(whole: Comparison): Comparison {
  return {
    ...whole,
    prompt: cut(whole.prompt),
    results: whole.results.map((result) => ({ ...result, text: cut(result.text) })),
  };
}

function cut(text: string): string {
  if (text.length <= maxTextCharacters) return text;
  return `${text.slice(0, maxTextCharacters)}\n[cut: ${text.length} characters in total]`;
}

function charactersOf({ prompt, results }: Comparison): number {
  return results.reduce((sum, { text }) => sum + text.length + 500, prompt.length + 1000);
}
