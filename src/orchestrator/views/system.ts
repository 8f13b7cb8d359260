import * as z from "zod";
import { idOf } from "../catalog/located-model.ts";
import { OrchestratorError } from "../api/errors.ts";
import type { Alert, CountedFigures, Metrics } from "../api/facade-metrics.ts";
import type { EngineStatus, RamStatus, Savings, SystemStatus } from "../api/facade-status.ts";
import type { Jobs } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { NextStep } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import type { LiveSettings } from "../config/live.ts";
import { settingsProblem } from "../config/problems.ts";
import type { Engine } from "../engines/engine.ts";
import type { SpendingLedger } from "../money/spending.ts";
import type { Operations } from "../jobs/operations.ts";
import type { Observations } from "../residency/observations.ts";
import type { MemoryProbe } from "../memory/measure/system-probe.ts";
import { pressureWarnings } from "../memory/state.ts";
import type { LoadedModels } from "../residency/loaded.ts";
import type { Pins } from "../residency/keep-alive.ts";
import type { RequestQueues } from "../residency/request-queues.ts";
import type { Slots } from "../residency/slots.ts";
import { openDocument, openedOnce } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { createMutex } from "../util/joined-work.ts";
import { cachedText, formatBytes } from "../util/format-bytes.ts";
import { oneLine } from "../util/control-characters.ts";
import { sameModel } from "../util/model-name.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { defined, messageOf, getOrInsert } from "../util/values.ts";
import type { Library } from "./library.ts";

interface StatusSource {
  readonly inventory: Inventory;
  readonly loaded: LoadedModels;
  readonly probe: MemoryProbe;
  readonly pins: Pick<Pins, "isPinned">;
  readonly slots: Slots;
}

/** As `ollama ps` tells it: a model that has no room on the card runs in part on the processor. */
function processorOf(
  { processor, usesCards }: Pick<Engine, "processor" | "usesCards">,
  vramBytes: number,
  bytes: number,
): { readonly processor?: string } {
  if (processor !== undefined || usesCards !== true || bytes === 0) return processor === undefined ? {} : { processor };
  const percent = Math.round((100 * vramBytes) / bytes);
  return { processor: percent <= 0 ? "CPU" : percent >= 100 ? "GPU" : `${percent}% GPU` };
}

export async function ramStatus({ inventory, loaded: memory, probe, pins }: StatusSource): Promise<RamStatus> {
  const [sample, loaded] = await Promise.all([
    probe.sample(),
    Promise.all(
      inventory.engines.map(async (engine) => {
        const views = await memory.of(engine, 0);
        const others = await otherNames({ inventory, loaded: memory }, engine);
        return views.map(
          ({ name, sizeBytes, reportedBytes, vramBytes = 0, contextTokens, expiresAt, lastPrompt, lastUsedMs }) => ({
            name,
            engine: engine.id,
            ...processorOf(engine, vramBytes, reportedBytes ?? sizeBytes),
            ...(others.has(name) && { alsoAnswersFor: others.get(name) ?? [] }),
            bytes: sizeBytes,
            ...([name, ...(others.get(name) ?? [])].some(pins.isPinned) && { isPinned: true }),
            ...defined({ contextTokens, expiresAt, lastPrompt: lastPrompt && cachedText(lastPrompt) }),
            ...(lastUsedMs > 0 && { lastUsedAt: new Date(lastUsedMs).toISOString() }),
          }),
        );
      }),
    ),
  ]);
  const { totalBytes, availableBytes, swapTotalBytes, swapUsedBytes, gpus } = sample;
  const warnings = [...pressureWarnings(sample), ...offCards({ inventory }, loaded.flat())];
  return {
    totalBytes,
    availableBytes,
    swapTotalBytes,
    swapUsedBytes,
    ...(warnings.length === 0 ? {} : { warning: warnings.join("; ") }),
    gpus,
    loaded: loaded.flat(),
    sampledAt: new Date(sample.sampledAtMs).toISOString(),
  };
}

/** Why loaded models are in RAM although their engine uses cards, one sentence for each reason. */
function offCards({ inventory }: Pick<StatusSource, "inventory">, loaded: RamStatus["loaded"]): readonly string[] {
  const reasons = loaded.flatMap(({ name, engine: id, processor }) => {
    const { residency } = inventory.engines.find((engine) => engine.id === id) ?? {};
    return processor === "CPU" ? (residency?.cardFailure?.(name) ?? []) : [];
  });
  return [...new Set(reasons)];
}

/** Undefined for an engine that does not respond and is not expected to. */
async function engineStatus(
  source: OverviewSource,
  engine: Engine,
  signal: AbortSignal,
): Promise<EngineStatus | undefined> {
  const { inventory } = source;
  const { id, kind, trust } = engine;
  const list = (await inventory.recentLists()).find((each) => each.engine === engine);
  if (list?.isLocked) return { id, kind, trust, health: "not_contacted", message: list.message ?? "", modelCount: 0 };
  const [health, isInstalled] = await Promise.all([engine.health(signal), engine.installation?.isInstalled() ?? true]);
  if (!health.isReachable && !(await inventory.isExpected(engine))) return undefined;
  const stuck = list?.staleSince === undefined ? list?.message : undefined;
  const answering = stuck === undefined ? "ok" : "stuck";
  const status = !isInstalled ? "not_installed" : health.isReachable ? answering : "unreachable";
  const message = isInstalled
    ? withAddress(health.message ?? stuck ?? coolDowns(source, engine), ambiguousAddress(inventory, engine))
    : `installed on demand (a ${formatBytes(engine.installation?.downloadBytes ?? 0)} download)`;
  return {
    id,
    kind,
    trust,
    health: status,
    ...defined({ version: health.version, message }),
    modelCount: list?.models.length ?? 0,
    ...(engine.connections && { connections: engine.connections() }),
    ...(engine.pricesOf && { spending: await source.spending.spent(engine, inventory.lastList(engine)) }),
  };
}

/** Its models that failed and are not asked for a while, and until when. */
function coolDowns({ inventory, observations }: OverviewSource, engine: Engine): string | undefined {
  const cooling = inventory.lastList(engine).flatMap((model) => {
    const coolDown = observations.of(idOf({ engine, model })).breaker?.coolDown;
    return coolDown === undefined ? [] : [`${model.name} is cooling down: ${coolDown.because}`];
  });
  return cooling.length === 0 ? undefined : cooling.join("; ");
}

/** The other names that each loaded model's process serves, by the name it was loaded by. */
async function otherNames(
  { inventory, loaded }: Pick<StatusSource, "inventory" | "loaded">,
  engine: Engine,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const others = new Map<string, string[]>();
  for (const model of inventory.lastList(engine)) {
    const name = (await loaded.find({ engine, model }, 60_000))?.name;
    if (name === undefined || sameModel(name, model.name)) continue;
    others.set(name, [...(others.get(name) ?? []), model.name]);
  }
  return others;
}

/** The address of a server if there are several. Addresses contain no credentials (`parseOllamaHost`). */
function ambiguousAddress({ engines }: Pick<Inventory, "engines">, engine: Engine): string | undefined {
  const servers = engines.filter(({ isPrivate }) => isPrivate !== true);
  return servers.length > 1 && servers.includes(engine) ? engine.address : undefined;
}

function withAddress(message: string | undefined, address: string | undefined): string | undefined {
  if (address === undefined || message?.includes(address.replace(/^https?:\/\//, "")) === true) return message;
  return message === undefined ? `at ${address}` : `at ${address}: ${message}`;
}

export interface OverviewSource extends StatusSource {
  readonly world: { readonly settings: LiveSettings; readonly version: string; readonly home: string };
  readonly queues: Pick<RequestQueues, "snapshot">;
  readonly observations: Pick<Observations, "of">;
  readonly operations: Pick<Operations, "running">;
  readonly jobs: Pick<Jobs, "list">;
  readonly spending: Pick<SpendingLedger, "spent" | "problems">;
  readonly metrics: Pick<Metrics, "money">;
  readonly counted: Pick<CountedFigures, "breaches" | "remote">;
  readonly library: Pick<Library, "failures">;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Log;
  /** Absent: alerts end with the process. */
  readonly files?: DocumentFiles;
  /** Background problems not yet reported. */
  problems(): readonly string[];
}

/** The state of this process and its problems. */
export async function systemStatus(source: OverviewSource, caller: CallerContext): Promise<SystemStatus> {
  const { world, inventory, queues, operations, jobs } = source;
  const [ram, breaches, remote, found, savings] = await Promise.all([
    ramStatus(source),
    source.counted.breaches(),
    source.counted.remote(),
    Promise.all(inventory.engines.map((engine) => engineStatus(source, engine, caller.signal))),
    savingsOf(source, caller),
  ]);
  const engines = found.filter((engine) => engine !== undefined);
  const asked = engines.filter(({ health }) => health !== "not_contacted");
  const jobIds = new Set(jobs.list().map(({ id }) => id));
  return {
    version: world.version,
    home: world.home,
    privacy: caller.settings.privacy,
    ram,
    engines,
    queue: queues.snapshot().map(({ located, running, waiting }) => ({ model: located.model.name, running, waiting })),
    operations: operations.running().map((operation) => {
      const message = operation.progress()?.message;
      const isJob = jobIds.has(operation.id);
      return { id: operation.id, title: operation.title, isJob, ...defined({ message }) };
    }),
    remoteRequests: remote.count,
    remoteText: remoteText(remote),
    ...(savings && { savings }),
    warnings: [
      // Why no card is used is in both.
      ...systemWarnings(source).filter((text) => ram.warning?.includes(text) !== true),
      ...(ram.warning === undefined ? [] : [ram.warning]),
      ...(caller.warnings ?? []),
      // The reasons are in `engines`.
      ...(asked.every(({ health }) => health === "unreachable") ? ["no engine responds"] : []),
    ],
    breaches,
  };
}

/** `No prompt has left this machine since 1 November 2026`, with the last one if there was any. */
function remoteText({ count, sinceMs, last }: Awaited<ReturnType<CountedFigures["remote"]>>): string {
  const day = (ms: number) =>
    new Date(ms).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
  const lastText = last === undefined ? "" : `; the last on ${day(last.atMs)}, to ${last.engine}`;
  const subject = count === 0 ? "No prompt has" : count === 1 ? "1 prompt has" : `${count} prompts have`;
  return `${subject} left this machine since ${day(sinceMs)}${lastText}`;
}

async function savingsOf({ metrics }: OverviewSource, caller: CallerContext): Promise<Savings | undefined> {
  const { month, currency, reference } = await metrics.money(caller);
  const { total: amount, spent, localTokens } = month;
  if (localTokens === 0 && spent === 0) return undefined;
  return { amount, currency, spent, localTokens, reference: reference.model };
}

/** What is wrong with the daemon and its settings, without a look at this machine and at the engines. */
function systemWarnings({
  world: { settings },
  problems,
  spending,
  inventory,
}: Pick<OverviewSource, "world" | "problems" | "spending" | "inventory">): readonly string[] {
  const problem = settings.problem();
  const { availableBytes } = settings.current().memory;
  return [
    ...(problem === undefined ? [] : [settingsProblem(problem)]),
    ...(availableBytes === undefined
      ? []
      : [`memory.availableBytes overrides the measured value: ${formatBytes(availableBytes)}`]),
    ...problems(),
    ...spending.problems(inventory.engines),
  ];
}

/** What is wrong, and was: asks no engine. */
export function createAlerts(source: OverviewSource) {
  const kept = keepAlerts(source);
  return {
    close: kept.close,
    /** Without a caller, no engine and no front says what is wrong: theirs are neither new nor over. */
    async look(caller?: CallerContext, worded?: (next: NextStep) => Promise<string>): Promise<readonly Alert[]> {
      const { counted, inventory, probe, library } = source;
      const [breaches, silent, sample] = await Promise.all([
        counted.breaches(),
        inventory.silent(),
        probe.sample(1_000),
      ]);
      const about = (kind: string) => (text: string) => ({ id: `${kind} ${withoutFigures(text)}`, text, next: [] });
      const found = [
        // Nothing else matters while a server is down.
        ...silent.map(about("engine")),
        ...pressureWarnings(sample).map(about("memory")),
        ...systemWarnings(source).map(about("daemon")),
        ...(caller?.warnings ?? []).map(about("caller")),
        // Its text begins with what it is about: `profile coder: `.
        ...breaches.map(({ kind, text, next }) => ({ id: `${kind} ${text.replace(/: .*/s, "")}`, text, next: [next] })),
        ...[...library.failures].flatMap(([pull, error]) => {
          if (error === undefined) return [];
          const next = error instanceof OrchestratorError ? error.next : [];
          return [{ id: `pull ${pull}`, text: `${pull} was not pulled: ${messageOf(error)}`, next, pull }];
        }),
      ];
      const alerts = await kept.look(found, ({ id, pull }) =>
        pull === undefined ? caller !== undefined || !/^(?:engine|caller) /.test(id) : library.failures.has(pull),
      );
      return Promise.all(
        alerts.map(async (alert) => {
          const { next = [] } = found.find(({ id }) => alert.until === undefined && id === alert.id) ?? {};
          const steps = worded === undefined ? [] : await Promise.all(next.map(worded));
          const text = steps.length === 0 ? alert.text : `${alert.text}. ${steps.join(" ")}`;
          return { ...alert, id: `${alert.id} ${alert.since}`, text };
        }),
      );
    },
  };
}

/** The kind and the subject of an alert, while its figures change. */
function withoutFigures(text: string): string {
  return oneLine(text).replaceAll(/(?<![^\s(])\d[\d.,]*(?: (?:bytes|[kMG]B|ms|s|min|%))?(?![^\s),;])/g, "N");
}

const alertRow = z.object({
  id: z.string(),
  text: z.string(),
  since: z.string(),
  until: z.string().exactOptional(),
  pull: z.string().exactOptional(),
});
/** One that was not seen for so long has ended: figures move around their bounds, and engines are asked after a start. */
const goneMs = 60_000;
const dayMs = 86_400_000;
const maxEnded = 50;
const maxAlertCharacters = 500;

/** When alerts are seen first, and last, in `alerts.json`. */
function keepAlerts({ now, log, files }: Pick<OverviewSource, "now" | "log" | "files">) {
  const open = (kept: Pick<OverviewSource, "files">) =>
    openDocument<{ alerts: Alert[] }, Alert>({
      name: "alerts",
      schemaVersion: 1,
      empty: () => ({ alerts: [] }),
      state: z.object({ alerts: z.array(alertRow) }),
      event: alertRow,
      apply(state, next) {
        const others = state.alerts.filter(({ id, since }) => id !== next.id || since !== next.since);
        const ended = [...others, next].filter(({ until }) => until !== undefined);
        const dropped = new Set(ended.slice(0, -maxEnded));
        state.alerts = [...others, next].filter((each) => !dropped.has(each));
      },
      rows: { alerts: alertRow },
      log,
      ...kept,
    });
  const document = openedOnce(() => open(defined({ files })).catch(() => open({})));
  const inTurn = createMutex();
  const isoOf = (ms: number): string => new Date(ms).toISOString();
  /** By id; milliseconds since the epoch. */
  const seenMs = new Map<string, number>();

  return {
    close: document.close,
    /**
     * What is wrong now, then what was within the last day, newest first. Without `isAsked` it is as it was known: nothing
     * would have found it.
     */
    look: (found: readonly Pick<Alert, "id" | "text" | "pull">[], isAsked: (alert: Alert) => boolean) =>
      inTurn(async (): Promise<readonly Alert[]> => {
        const { state, append } = await document.get();
        const keep = (alert: Alert) =>
          append(alert).catch((error: unknown) => log.debug(`alerts: ${messageOf(error)}`));
        const nowMs = now();
        const openOf = (id: string) => state.alerts.find((each) => each.id === id && each.until === undefined);
        const present: Alert[] = [];
        for (const { id, text, pull } of found) {
          seenMs.set(id, nowMs);
          const alert = { id, text: text.slice(0, maxAlertCharacters), since: isoOf(nowMs), ...defined({ pull }) };
          if (openOf(id) === undefined) await keep(alert);
          present.push({ ...alert, since: openOf(id)?.since ?? alert.since });
        }
        for (const alert of state.alerts.filter(({ id, until }) => until === undefined && seenMs.get(id) !== nowMs)) {
          if (!isAsked(alert)) {
            present.push(alert);
            continue;
          }
          // One of an earlier process was there until now, as far as is known.
          const lastMs = getOrInsert(seenMs, alert.id, () => nowMs);
          if (nowMs - lastMs > goneMs) await keep({ ...alert, until: isoOf(lastMs) });
        }
        const ended = state.alerts.filter(({ until }) => until !== undefined && Date.parse(until) > nowMs - dayMs);
        return [...present, ...ended.toReversed()];
      }),
  };
}
