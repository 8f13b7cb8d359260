import { idOf } from "../catalog/located-model.ts";
import type { CountedFigures, Metrics } from "../api/facade-metrics.ts";
import type { EngineStatus, RamStatus, Savings, SystemStatus } from "../api/facade-status.ts";
import type { Jobs } from "../api/facade.ts";
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
import { cachedText, formatBytes } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { defined } from "../util/values.ts";

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
      ...systemWarnings(source, caller, ram.warning),
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

/** What is wrong, without a look at the engines; `pressure` is the warning about this machine's memory. */
export function systemWarnings(
  source: Pick<OverviewSource, "world" | "problems" | "spending" | "inventory">,
  caller: CallerContext,
  pressure: string | undefined,
): readonly string[] {
  return [
    ...settingsWarnings(source.world),
    ...(pressure === undefined || pressure === "" ? [] : [pressure]),
    ...(caller.warnings ?? []),
    ...source.problems(),
    ...source.spending.problems(source.inventory.engines),
  ];
}

function settingsWarnings({ settings }: OverviewSource["world"]): readonly string[] {
  const problem = settings.problem();
  const { availableBytes } = settings.current().memory;
  return [
    ...(problem === undefined ? [] : [settingsProblem(problem)]),
    ...(availableBytes === undefined
      ? []
      : [`memory.availableBytes overrides the measured value: ${formatBytes(availableBytes)}`]),
  ];
}
