import { FairTurns, flowOf } from "../../../src/orchestrator/residency/queue-requests.ts";
import {
  afterDecision,
  nextToServe,
  type QueuedModel,
  type QueueState,
  type WaitingRequest,
} from "../../../src/orchestrator/residency/decide/queue-order.ts";
import type { Machine, Random } from "./machine.ts";
import { createOwnMachine } from "./own-machine.ts";

type TurnTaker = Parameters<FairTurns["served"]>[1];

export interface AgentsRun {
  readonly reloadSeconds: number;
  /** Longest time that anyone was overtaken: from the first to the end of the last who came later and went ahead. */
  readonly longestOvertakingSeconds: number;
}

/** What an agent takes from an answer to its next request: no scheduler knows of that before. */
const returnMs = 10;
/** An answer takes its mean, ± this part of it. */
const spread = 0.5;

/**
 * Agents that each ask, wait for the answer and ask again a moment later, on a machine that does one thing at a time: every
 * decision is `nextToServe`'s, every turn `FairTurns`', every eviction the plan's, put together as `RequestQueue` does.
 */
export function runAgents(
  machine: Machine,
  agents: readonly (readonly number[])[],
  { maxOvertakeMs, answerMs }: { readonly maxOvertakeMs: number; readonly answerMs: number },
  random: Random,
): AgentsRun {
  const own = createOwnMachine(machine);
  const asked = agents.map(() => 0);
  /** Request → when a later one first went ahead. */
  const overtakenSince = new Map<string, number>();
  let [nowMs, reloadSeconds, longestMs, arrivals] = [0, 0, 0, 0];
  const fair = new FairTurns();
  let waiting: readonly (Omit<WaitingRequest, "turn"> & TurnTaker)[] = [];
  const requestOf = new Map<string, { readonly model: number; readonly agent: number; readonly arrival: number }>();

  /** Agents on their way to the next request, soonest first; and when each was answered last. */
  let coming = agents.map((_unused, agent) => ({ agent, atMs: 0 }));
  const answeredMs = new Map<string, number>();

  const ask = ({ agent, atMs }: { readonly agent: number; readonly atMs: number }) => {
    const position = asked[agent] ?? 0;
    const model = agents[agent]?.[position];
    if (model === undefined) return;
    asked[agent] = position + 1;
    const id = `${agent}-${position}`;
    requestOf.set(id, { model, agent, arrival: (arrivals += 1) });
    const request = { id, caller: String(agent), model: String(model), arrivedMs: atMs, priority: 0 };
    waiting = [...waiting, { ...request, flow: flowOf(request), arrivedTurn: fair.newest }];
  };
  const queued = (model: number): QueuedModel => {
    const base = { running: 0, maxParallel: 1, answerMs: answerMs * (1 + spread) };
    const loadMs = (machine.models[model]?.loadSeconds ?? 0) * 1_000;
    if (own.resident.has(model)) {
      return { ...base, state: "resident", loadMs, lossSeconds: own.expectedLossSeconds(model) };
    }
    const awaited = awaitedModels(waiting);
    return { ...base, state: "absent", loadMs, evicts: own.wouldEvict(model, awaited).map(String) };
  };
  const arrive = () => {
    for (const each of coming.filter(({ atMs }) => atMs <= nowMs)) ask(each);
    coming = coming.filter(({ atMs }) => atMs > nowMs);
  };
  const state = (): QueueState => ({
    nowMs,
    maxOvertakeMs,
    embeddedSlots: 1,
    mayLoad: true,
    waiting,
    models: new Map(
      [...new Set([...waiting.map(({ model }) => Number(model)), ...own.resident])].map((model) => [
        String(model),
        queued(model),
      ]),
    ),
    runningOf: new Map(),
    answeredMs,
  });

  for (;;) {
    arrive();
    fair.assign(waiting);
    const decision = nextToServe(state());
    if (decision.kind === "expire") throw new Error("a request without a deadline expired");
    if (decision.kind === "wait") {
      const moments = [
        ...coming.map(({ atMs }) => atMs),
        ...(waiting.length > 0 ? [decision.untilMs ?? Infinity] : []),
      ];
      if (moments.length === 0) break;
      nowMs = Math.min(...moments);
      if (nowMs === Infinity) throw new Error("those who wait are never served");
      continue;
    }
    const { model, agent, arrival } = requestOf.get(decision.id) ?? { model: 0, agent: 0, arrival: 0 };
    const startedMs = nowMs;
    const request = waiting.find(({ id }) => id === decision.id);
    if (request === undefined) throw new Error(`${decision.id} is served but does not wait`);
    if (decision.kind === "load") {
      waiting = afterDecision(waiting, decision, nowMs);
      const seconds = own.load(model, awaitedModels(waiting, decision.id));
      reloadSeconds += seconds;
      nowMs += seconds * 1_000;
      // Turns of those who come during a load begin before the one that is served after it.
      arrive();
    } else own.use(model);
    fair.served(waiting, request);
    // Who asked for a load is served as soon as it is done.
    waiting = afterDecision(waiting, { ...decision, kind: "serve" }, startedMs);
    nowMs += answerMs * (1 - spread + 2 * spread * random());
    for (const { id } of waiting) {
      if ((requestOf.get(id)?.arrival ?? 0) >= arrival) continue;
      const sinceMs = overtakenSince.get(id) ?? startedMs;
      overtakenSince.set(id, sinceMs);
      longestMs = Math.max(longestMs, nowMs - sinceMs);
    }
    answeredMs.set(String(agent), nowMs);
    coming = [...coming, { agent, atMs: nowMs + returnMs }];
  }
  return { reloadSeconds, longestOvertakingSeconds: longestMs / 1_000 };
}

/** The order in which they would be served first come, first served: each asks again when it was answered. */
export function firstCome(agents: readonly (readonly number[])[]): readonly number[] {
  const longest = Math.max(...agents.map(({ length }) => length));
  return Array.from({ length: longest }, (_unused, position) =>
    agents.flatMap((agent) => agent[position] ?? []),
  ).flat();
}

/** Models with waiting requests; `exceptId` is the request that causes a load. */
function awaitedModels(waiting: readonly WaitingRequest[], exceptId?: string): ReadonlySet<number> {
  return new Set(waiting.filter(({ id }) => id !== exceptId).map(({ model }) => Number(model)));
}
