import type { MemorySample } from "../memory/measure/system-probe.ts";
import { type SlotView, localDomain, pressureWarnings } from "../memory/state.ts";
import type { Event, Events, RequestRow } from "../api/events.ts";
import type { LiveHistory, LiveModel, LiveOperation, LiveState, LiveView, Metrics } from "../api/facade-metrics.ts";
import type { NextStep } from "../api/next-step.ts";
import type { CallerContext, Operation } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import type { RunningFacts } from "../jobs/operations.ts";
import type { Plans } from "../residency/plans.ts";
import type { ModelSlot } from "../residency/slot.ts";
import { LastHour, isHere, ramBytesOf } from "../util/last-hour.ts";
import { sameModel } from "../util/model-name.ts";
import { type OverviewSource, createAlerts } from "./system.ts";
import { defined } from "../util/values.ts";

interface LiveSource extends OverviewSource {
  readonly plans: Pick<Plans, "reservations">;
  readonly metrics: Pick<Metrics, "money" | "requests">;
  readonly events: Pick<Events, "on">;
  readonly health: { readonly tokens: number };
}

/** One measurement serves all who look within this time. */
const measuredMs = 1_000;
const countedMs = 5_000;
const hourMs = 3_600_000;
const minuteMs = 60_000;
/** Without running operations and open pages a sample stands for as many seconds. */
const calmSeconds = 10;
/** How long a model that was loaded may be missing from its engine's list. */
const listedMs = 5_000;
/** The end of an answer so far is shown, as all of it would be sent again with every token. */
const maxTextCharacters = 4_000;

/** What changes a state. Waits, and figures of jobs, are shown with their operations. */
const shown = [
  "operations changed",
  "listed models changed",
  "models changed",
  "memory changed",
  "figures changed",
] as const satisfies readonly Event["kind"][];

/**
 * What happens now, from what is known already: slots, operations, the queue, the engines' last lists. Only the memory is
 * measured, once a second.
 */
export class Live implements LiveView {
  readonly #source: LiveSource;
  /** Held by other programs when no model was being loaded: until its end, a load is measured as theirs. */
  #otherBytes: number | undefined;
  #counted: { readonly value: Pick<LiveState, "today" | "lastHour">; readonly atMs: number } | undefined;
  /** Models whose load was seen, and when they were still loading. */
  readonly #begun = new WeakMap<
    ModelSlot,
    { readonly view: Pick<SlotView, "name" | "sizeBytes" | "vramBytes">; readonly atMs: number }
  >();
  readonly #history = new LastHour();
  readonly #alerts: ReturnType<typeof createAlerts>;

  constructor(source: LiveSource) {
    this.#source = source;
    this.#alerts = createAlerts(source);
  }

  async state(caller: CallerContext, worded?: (next: NextStep) => Promise<string>): Promise<LiveState> {
    const { now, jobs } = this.#source;
    const [counted, moment] = await Promise.all([this.#countedFor(caller), this.#moment()]);
    const alerts = await this.#alerts.look(caller, worded);
    const known = new Map(jobs.list().map((job) => [job.id, job]));
    return {
      at: new Date(now()).toISOString(),
      ...moment,
      operations: moment.operations.map((operation) => {
        const client = operation.client ?? known.get(operation.id)?.client;
        return { ...operation, ...defined({ client }), isJob: known.has(operation.id) };
      }),
      ...counted,
      alerts,
    };
  }

  onChange(listener: () => void): () => void {
    return this.#source.events.on(shown, listener);
  }

  /** Adds a sample to the history if it has none of this time: call it each second. Nearly free while nothing runs. */
  async sample(): Promise<void> {
    const { operations, now, health } = this.#source;
    const isCalm = operations.running().length === 0 && this.#history.tokens === health.tokens;
    const dueSeconds = isCalm ? calmSeconds : 1;
    if (this.#history.secondsSince(now()) < dueSeconds) return;
    await this.#moment();
    await this.#alerts.look();
  }

  history(): LiveHistory {
    return this.#history.history();
  }

  async #moment() {
    const { probe, now, operations, queues, health } = this.#source;
    const sample = await probe.sample(measuredMs);
    const warning = pressureWarnings(sample).join("; ");
    const moment = {
      memory: {
        ...this.#memory(sample),
        gpus: sample.gpus,
        ...(warning !== "" && { warning }),
      },
      operations: operations.running().map((operation) => liveOperation(operation, now())),
      tokens: health.tokens,
      queue: queues.snapshot().map(({ located, running, waiting, expectedWaitMs }) => ({
        model: located.model.name,
        running,
        waiting,
        ...(expectedWaitMs !== undefined && { expectedWaitMs: Math.round(expectedWaitMs) }),
      })),
    };
    this.#history.add(moment, now(), calmSeconds + 1);
    return moment;
  }

  close(): Promise<void> {
    return this.#alerts.close();
  }

  /** The parts of the RAM, which add up to all of it; see `LiveState`. */
  #memory(sample: MemorySample): Pick<LiveState["memory"], "totalBytes" | "availableBytes" | "models" | "otherBytes"> {
    const { totalBytes } = sample;
    const { engines } = this.#source.inventory;
    const loaded = engines.flatMap((engine) => this.#loaded(engine, sample.gpus.length > 0));
    const here = loaded.filter(({ model }) => isHere(model));
    const loadedBytes = here.reduce((sum, { model }) => sum + ramBytesOf(model), 0);
    // The system counts file-mapped bytes as available.
    const mappedBytes = here.reduce((sum, each) => sum + each.mappedBytes, 0);
    const loading = engines.flatMap((engine) => this.#loading(engine));
    const measuredBytes = Math.max(0, totalBytes - Math.max(0, sample.availableBytes - mappedBytes) - loadedBytes);
    if (loading.length === 0) this.#otherBytes = measuredBytes;
    const otherBytes = Math.min(measuredBytes, this.#otherBytes ?? measuredBytes);
    let availableBytes = Math.max(0, totalBytes - loadedBytes - otherBytes);
    // A load that waits for an eviction has only what is free until then.
    const begun = loading.map((model): LiveModel => {
      if (!isHere(model)) return model;
      const taken = Math.min(ramBytesOf(model), availableBytes);
      availableBytes -= taken;
      return { ...model, bytes: taken + (model.vramBytes ?? 0) };
    });
    return { totalBytes, availableBytes, models: [...loaded.map(({ model }) => model), ...begun], otherBytes };
  }

  /** Those that the engine listed when it was asked last. */
  #loaded(engine: Engine, hasCards: boolean): readonly { readonly model: LiveModel; readonly mappedBytes: number }[] {
    const { loaded, slots } = this.#source;
    const atMs = this.#source.now();
    const views = loaded.known(engine, hasCards).filter(({ expiresAtMs = atMs }) => expiresAtMs >= atMs);
    return views.map(({ name, sizeBytes, vramBytes = 0, mappedBytes, contextTokens, expiresAt }) => {
      const slot = slots.of(engine, name);
      const model = {
        ...this.#shown(engine, slot, name),
        state: slot.state === "absent" ? ("ready" as const) : slot.state,
        bytes: sizeBytes,
        ...(vramBytes > 0 && { vramBytes }),
        ...defined({ contextTokens, expiresAt }),
      };
      return { model, mappedBytes };
    });
  }

  /** Those that memory is reserved for, until their engine lists them. */
  #loading(engine: Engine): readonly LiveModel[] {
    const { loaded, slots, now } = this.#source;
    const listed = new Set(loaded.known(engine).map(({ name }) => slots.of(engine, name)));
    return slots
      .ofEngine(engine)
      .filter((slot) => !listed.has(slot))
      .flatMap((slot) => {
        const begun = slot.isLoading ? { view: this.#reserved(slot), atMs: now() } : this.#begun.get(slot);
        if (begun === undefined || slot.state === "absent" || now() - begun.atMs > listedMs) return [];
        this.#begun.set(slot, begun);
        const { name, sizeBytes: bytes, vramBytes = 0 } = begun.view;
        return [{ ...this.#shown(engine, slot, name), state: slot.state, bytes, ...(vramBytes > 0 && { vramBytes }) }];
      });
  }

  /** The name that it is loaded by, and what is reserved for that. */
  #reserved({ engine, names }: ModelSlot): Pick<SlotView, "name" | "sizeBytes" | "vramBytes"> {
    const reservations = this.#source.plans.reservations(engine.memoryDomain);
    const all = reservations.reserved();
    const own = [...names.values()].map(({ id, name }) => {
      const others = reservations.reserved(id);
      const vramBytes = sumOf(all.vramBytes) - sumOf(others.vramBytes);
      return { name, sizeBytes: all.ramBytes - others.ramBytes + vramBytes, vramBytes };
    });
    return own.find(({ sizeBytes }) => sizeBytes > 0) ?? own[0] ?? { name: "", sizeBytes: 0 };
  }

  #shown(engine: Engine, slot: ModelSlot, name: string): Omit<LiveModel, "state" | "bytes"> {
    const { operations, pins } = this.#source;
    const names = slot.namesOf(name);
    const using = operations.running().filter(({ model = "" }) => names.some((each) => sameModel(each, model)));
    return {
      name,
      engine: engine.id,
      isPinned: names.some(pins.isPinned),
      running: slot.leases,
      clients: [...new Set(using.flatMap(({ client }) => client ?? []))],
      ...(engine.memoryDomain !== localDomain && { isElsewhere: true as const }),
    };
  }

  async #countedFor(caller: CallerContext): Promise<Pick<LiveState, "today" | "lastHour">> {
    const { metrics, now } = this.#source;
    if (this.#counted !== undefined && Math.abs(now() - this.#counted.atMs) < countedMs) return this.#counted.value;
    const from = new Date(now() - hourMs).toISOString();
    const [money, { rows }] = await Promise.all([
      metrics.money(caller),
      metrics.requests(caller, { from, limit: Number.POSITIVE_INFINITY }),
    ]);
    const today = { saved: money.today.total, currency: money.currency, from: money.today.from };
    const value = { today, lastHour: lastHourOf(rows, now()) };
    this.#counted = { value, atMs: now() };
    return value;
  }
}

function lastHourOf(rows: readonly RequestRow[], nowMs: number): LiveState["lastHour"] {
  const requests = Array.from({ length: hourMs / minuteMs }, () => 0);
  for (const { startedAt } of rows) {
    const minute = Math.floor((Date.parse(startedAt) - nowMs + hourMs) / minuteMs);
    // One that began at this very moment is of the last minute, too.
    const at = Math.min(requests.length - 1, Math.max(0, minute));
    requests[at] = (requests[at] ?? 0) + 1;
  }
  const waits = rows.flatMap(({ firstTokenMs = [] }) => firstTokenMs).toSorted((one, other) => one - other);
  return {
    requests,
    failed: rows.filter(({ outcome }) => outcome.startsWith("failed:")).length,
    ...defined({ firstTokenP95Ms: waits[Math.ceil(waits.length * 0.95) - 1] }),
  };
}

function sumOf(bytes: Readonly<Record<string, number>>): number {
  return Object.values(bytes).reduce((sum, each) => sum + each, 0);
}

function liveOperation(operation: Operation<unknown> & RunningFacts, nowMs: number): LiveOperation {
  const { id, kind, title, startedAtMs, client, model, textSinceMs, bytesAtMs } = operation;
  const { message, completionTokens, completedBytes, totalBytes, bytesPerSecond } = operation.progress() ?? {};
  const answers = operation.partial()?.answers;
  const elapsedMs = nowMs - (textSinceMs ?? nowMs);
  // The time of the first token belongs to the prompt.
  const isMeasured = completionTokens !== undefined && completionTokens > 1 && elapsedMs > 0;
  return {
    id,
    kind,
    title,
    startedAt: new Date(startedAtMs).toISOString(),
    isJob: false,
    ...defined({ client, model, message, completionTokens }),
    ...(isMeasured && { tokensPerSecond: Math.round(((completionTokens - 1) * 10_000) / elapsedMs) / 10 }),
    ...defined({ completedBytes, totalBytes }),
    ...(bytesAtMs !== undefined && { bytesAt: new Date(bytesAtMs).toISOString() }),
    ...(bytesPerSecond !== undefined && { bytesPerSecond: Math.round(bytesPerSecond) }),
    ...(answers !== undefined && {
      texts: answers.map(({ model: name, text }) => ({ model: name, text: text.slice(-maxTextCharacters) })),
    }),
  };
}
