import type { Events } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import type { InstalledModel } from "../api/types.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { keyOfName } from "../util/model-name.ts";
import type { Timers } from "../util/timers.ts";
import { type SummaryModel, parseSummary, summaryFile } from "../storage/summary-file.ts";
import { defined, messageOf } from "../util/values.ts";

/** Changes within this time are written together. */
const delayMs = 3_000;
/** The reader names fewer; the others keep their speeds. */
const maxModels = 20;
/** A speed that differs by less than this is not worth writing. */
const tolerance = 0.15;

/** A local model that generates text. */
interface ListedModel {
  readonly model: Pick<InstalledModel, "name" | "digest" | "sizeBytes">;
  readonly observation: { readonly tokensPerSecond?: number; readonly lastUsedMs?: number };
}

interface SummaryParts {
  readonly events: Events;
  /** Absent: there is no summary. */
  readonly files?: Pick<DocumentFiles, "read" | "replace">;
  /** As they were listed last. */
  readonly listed: () => readonly ListedModel[];
  /** Lists the models again where the last list is old. Returns whether an engine did not respond. */
  readonly isAnyStale: () => Promise<boolean>;
  readonly timers: Pick<Timers, "after">;
  readonly log: Log;
}

/**
 * Keeps the summary of the installed models in the home: when the models or an observed speed may have changed, the file is
 * compared soon, and replaced if it differs.
 */
export function watchSummary({ files, events, ...parts }: SummaryParts): { close(): Promise<void> } {
  if (files === undefined) return { close: () => Promise.resolve() };
  const summary = keepSummary({ ...parts, files });
  events.on(["request ended", "models listed", "models changed"], summary.touch);
  return {
    close() {
      events.flush();
      return summary.close();
    },
  };
}

function keepSummary(parts: Omit<SummaryParts, "events" | "files"> & Required<Pick<SummaryParts, "files">>) {
  const { files, listed, isAnyStale, log } = parts;
  let cancel: (() => void) | undefined;
  let writing: Promise<void> = Promise.resolve();
  let isClosed = false;
  /** What was written last, also by an earlier process. */
  let earlier: readonly SummaryModel[] | undefined;
  let written: string | undefined;

  async function readEarlier(): Promise<readonly SummaryModel[]> {
    written = await files.read(summaryFile).catch(() => undefined);
    return (written === undefined ? undefined : parseSummary(written)) ?? [];
  }

  /** With `isIncomplete` an engine did not respond. */
  async function write(isIncomplete: boolean): Promise<void> {
    earlier ??= await readEarlier();
    const models = summaryOf(listed(), earlier, isIncomplete);
    // Without any model, an engine that was not asked may have some: readers are to take it as unknown.
    const text = `${JSON.stringify(isIncomplete && models.length === 0 ? {} : { models })}\n`;
    if (text === written) return;
    try {
      await files.replace(summaryFile, text);
      earlier = models;
      written = text;
    } catch (error) {
      log.debug(`summary: not saved: ${messageOf(error)}`);
    }
  }

  function writeNext(look: () => Promise<boolean>): Promise<void> {
    writing = writing
      .then(look)
      .then(write)
      .catch((error: unknown) => log.warn(`summary: ${String(error)}`));
    return writing;
  }

  return {
    touch(): void {
      if (isClosed || cancel !== undefined) return;
      cancel = parts.timers.after(delayMs, () => {
        cancel = undefined;
        void writeNext(isAnyStale);
      });
    },
    /** Writes a change that is still waiting. */
    async close(): Promise<void> {
      isClosed = true;
      const isWaiting = cancel !== undefined;
      cancel?.();
      // Engines are not asked any more.
      await (isWaiting ? writeNext(() => Promise.resolve(true)) : writing);
    },
  };
}

/** The models in order of use, each once; with `isIncomplete` followed by earlier ones that are not listed now. */
function summaryOf(
  observed: readonly ListedModel[],
  earlier: readonly SummaryModel[],
  isIncomplete: boolean,
): readonly SummaryModel[] {
  const known = new Map(earlier.map((model) => [keyOf(model), model]));
  const seen = new Set<string>();
  const isFirst = ({ name }: SummaryModel) => {
    const key = keyOfName(name);
    return !seen.has(key) && seen.add(key);
  };
  const listed = observed
    .map(({ model: { name, digest, sizeBytes }, observation }) => {
      const model: SummaryModel = { name, ...defined({ digest }) };
      const speed = speedOf(observation.tokensPerSecond, known.get(keyOf(model))?.tokensPerSecond);
      return { model, sizeBytes, speed, lastUsedMs: observation.lastUsedMs ?? 0 };
    })
    .toSorted(
      (a, b) =>
        b.lastUsedMs - a.lastUsedMs ||
        Number(b.speed !== undefined) - Number(a.speed !== undefined) ||
        b.sizeBytes - a.sizeBytes ||
        (a.model.name < b.model.name ? -1 : 1),
    )
    .map(({ model, speed }): SummaryModel => (speed === undefined ? model : { ...model, tokensPerSecond: speed }))
    .filter(isFirst);
  const away = isIncomplete ? earlier.filter(isFirst).map((model) => ({ ...model, isAway: true })) : [];
  return [...listed, ...away].slice(0, maxModels);
}

/** The observed speed, rounded; the earlier one while they hardly differ. */
function speedOf(observed: number | undefined, before: number | undefined): number | undefined {
  if (observed === undefined || observed <= 0) return before;
  if (before !== undefined && Math.abs(observed - before) <= tolerance * before) return before;
  return observed < 10 ? Math.max(0.1, Math.round(observed * 10) / 10) : Math.round(observed);
}

function keyOf({ name, digest = "" }: SummaryModel): string {
  return `${keyOfName(name)} ${digest}`;
}
