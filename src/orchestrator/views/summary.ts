import type { Log } from "../api/log.ts";
import type { InstalledModel } from "../api/types.ts";
import { describeFromDatabase } from "../routing/database.ts";
import type { Engine } from "../engines/engine.ts";
import type { Observation, Observations } from "../residency/observations.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { keyOfName } from "../util/model-name.ts";
import type { Timers } from "../util/timers.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { modelId } from "../catalog/located-model.ts";
import { type SummaryModel, parseSummary, summaryFile } from "./summary-file.ts";
import { messageOf } from "../util/message-of.ts";
import { defined } from "../util/defined.ts";

/** Keeps the summary of the installed models in the home. */
export interface Summary {
  /** The models or an observed speed may have changed: the file is compared soon, and replaced if it differs. */
  touch(): void;
  /** Writes a change that is still waiting. */
  close(): Promise<void>;
}

/** Changes within this time are written together. */
const delayMs = 3_000;
/** The reader names fewer; the others keep their speeds. */
const maxModels = 20;
/** A speed that differs by less than this is not worth writing. */
const tolerance = 0.15;

interface Observed {
  readonly model: InstalledModel;
  readonly observation: Observation;
}

interface SummarySource {
  readonly files: Pick<DocumentFiles, "read" | "replace">;
  readonly inventory: Pick<Inventory, "engines" | "lastList" | "recentLists" | "knownFacts">;
  readonly observations: Pick<Observations, "of">;
  readonly timers: Pick<Timers, "after">;
  readonly log: Log;
}

/** Without `files` there is no summary. */
export function createSummary(parts: Omit<SummarySource, "files"> & Partial<Pick<SummarySource, "files">>): Summary {
  const { files } = parts;
  return files === undefined
    ? { touch: () => undefined, close: () => Promise.resolve() }
    : keepSummary({ ...parts, files });
}

function keepSummary(parts: SummarySource): Summary {
  const { files, inventory, observations, log } = parts;
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

  function observed(): readonly Observed[] {
    const isChat = (engine: Engine, model: InstalledModel) => {
      const facts = inventory.knownFacts({ engine, model }) ?? { capabilities: model.capabilities };
      const { capabilities } = facts;
      return describeFromDatabase(model.name, capabilities === undefined ? {} : { capabilities }).capabilities.includes(
        "completion",
      );
    };
    return inventory.engines
      .filter((engine) => engine.trust === "local")
      .flatMap((engine) =>
        inventory
          .lastList(engine)
          .filter((model) => model.trust === "local" && isChat(engine, model))
          .map((model) => ({ model, observation: observations.of(modelId(engine.id, model.name)) })),
      );
  }

  /** With `isIncomplete` an engine did not respond. */
  async function write(isIncomplete: boolean): Promise<void> {
    earlier ??= await readEarlier();
    const models = summaryOf(observed(), earlier, isIncomplete);
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

  /** After a pull or a delete the lists are read again. */
  const isAnyStale = async () => (await inventory.recentLists()).some(({ staleSince }) => staleSince !== undefined);

  return {
    touch() {
      if (isClosed || cancel !== undefined) return;
      cancel = parts.timers.after(delayMs, () => {
        cancel = undefined;
        void writeNext(isAnyStale);
      });
    },
    async close() {
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
  observed: readonly Observed[],
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
