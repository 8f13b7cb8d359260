import type { Privacy } from "../api/types.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine, EngineLoad } from "../engines/engine.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { type LocatedModel, isCopy, takesNoMemory, idOf } from "../catalog/located-model.ts";
import { assumedAnswerMs, assumedBytesPerMs, maxParallelOf } from "../residency/request-queues.ts";
import type { createChatHomes } from "./chat-prefix.ts";
import type { CandidateSource, LocatedCandidate } from "./candidates.ts";
import type { Resolved } from "./resolve.ts";

/** Keep-alive in seconds of a copy that was loaded only because of a queue. */
const copyKeepAliveSeconds = 60;

/** `models` returns the current settings. */
export function createCopies(models: () => Settings["models"], chats: Pick<ReturnType<typeof createChatHomes>, "of">) {
  const assigned = new Map<string, number>();
  /** The last report of each replica, and the requests that it had been assigned then. */
  const reported = new WeakMap<Engine, { readonly load: EngineLoad; readonly own: number }>();
  const count = (id: string): number => assigned.get(id) ?? 0;
  const atOnce = (located: LocatedModel) =>
    maxParallelOf(models(), located, located.engine.answersAtOnce?.(located.model.name));

  function take(id: string): () => void {
    assigned.set(id, count(id) + 1);
    let isOver = false;
    return () => {
      if (!isOver) assigned.set(id, count(id) - 1);
      isOver = true;
    };
  }

  /** What a replica reports, and what it can't have reported: the requests assigned since. */
  function replicaOf({ engine }: LocatedModel, load: EngineLoad | undefined): Replica {
    const own = [...assigned].reduce((sum, [id, held]) => sum + (id.startsWith(`${engine.id} `) ? held : 0), 0);
    if (load === undefined) return { assigned: own };
    const known = reported.get(engine);
    // The same object: the report is an earlier one.
    const ownThen = known?.load === load ? Math.min(known.own, own) : own;
    reported.set(engine, { load, own: ownThen });
    return { assigned: own, reported: load.running + load.waiting, unreported: own - ownThen };
  }

  /** `hold` counts the request at a `modelId`, until what it returns is called. */
  const assigning =
    (hold: typeof take) =>
    async (
      source: CandidateSource,
      entry: LocatedCandidate,
      request: Resolved,
      tried: ReadonlySet<string>,
      signal: AbortSignal,
    ) => {
      const { replicas } = entry.located.engine;
      const homeOf = () => request.chat && chats.of(request.chat)?.engine;
      if (replicas !== undefined) {
        const open = openReplicas(source, entry.located, tried);
        const loads = await Promise.all(open.map(({ engine }) => loadOf(engine, signal)));
        // Nothing is awaited from here on, so that requests that arrive together see each other.
        const asked = open.map((replica, index) => ({
          ...replicaOf(replica, loads[index]),
          hasPrefix: replica.engine.id === homeOf(),
        }));
        const located = open[chooseReplica(asked)] ?? entry.located;
        return { entry: onEngine(entry, located), request, release: hold(idOf(located)) };
      }
      // Counted before anything is awaited, so that requests that arrive together see each other.
      const ahead = count(idOf(entry.located));
      const releaseRouted = hold(idOf(entry.located));
      if (!hasOthers(source, entry.located)) return { entry, request, release: releaseRouted };
      const mustWait = ahead >= atOnce(entry.located);
      const open = await openCopies(source, entry.located, request.privacy, tried, mustWait, signal).finally(
        releaseRouted,
      );
      const chosen = chooseCopy(
        open.map(({ located, isLoaded }) => {
          const id = idOf(located);
          const { loadSeconds } = source.observations.of(id);
          return {
            assigned: count(id),
            parallel: atOnce(located),
            isLoaded: isLoaded || count(id) > 0,
            hasPrefix: located.engine.id === homeOf(),
            loadMs: loadSeconds === undefined ? located.model.sizeBytes / assumedBytesPerMs : loadSeconds * 1_000,
          };
        }),
        source.observations.of(idOf(entry.located)).answerMs ?? assumedAnswerMs,
      );
      const { located, isLoaded } = open[chosen] ?? { located: entry.located, isLoaded: false };
      const id = idOf(located);
      const release = hold(id);
      if (located === entry.located) return { entry, request, release };
      const { keepAliveSeconds = copyKeepAliveSeconds } = request;
      return {
        entry: onEngine(entry, located),
        // Do not change the keep-alive of a loaded copy.
        request: isLoaded ? request : { ...request, keepAliveSeconds },
        release,
      };
    };

  return {
    /**
     * Assigns a request to the engine that is expected to answer it soonest (`chooseCopy`); `entry` is where it
     * was routed. When a queue builds up, an engine with room loads a second copy. `tried` are the ids of engines that
     * failed. Engines of one memory domain share its cores, so only one of them counts. Throws no errors of its own.
     * The request is returned with a short keep-alive for a copy that is loaded only because of a queue. Call `release`
     * once it is answered or abandoned.
     */
    assign: assigning(take),
    /** The same for a dry run, which is not counted. */
    wouldAssign: assigning(() => () => undefined),
  };
}

/** The replicas of a cluster that list the model and were not tried, also those that failed for an earlier request. */
export function untriedReplicas(
  inventory: Pick<Inventory, "engines" | "lastList">,
  routed: LocatedModel,
  tried: ReadonlySet<string>,
): readonly LocatedModel[] {
  if (routed.engine.replicas === undefined) return [];
  return inventory.engines.flatMap((engine): readonly LocatedModel[] => {
    if (tried.has(engine.id) || engine.trust !== routed.engine.trust) return [];
    if (engine === routed.engine) return [routed];
    const model = inventory.lastList(engine).find((held) => isCopy({ engine, model: held }, routed));
    return model === undefined ? [] : [{ engine, model }];
  });
}

/** Those that didn't fail for an earlier request; all, if all did. */
function openReplicas({ inventory, observations }: CandidateSource, routed: LocatedModel, tried: ReadonlySet<string>) {
  const untried = untriedReplicas(inventory, routed, tried);
  const open = untried.filter((each) => observations.of(idOf(each)).breaker?.coolDown === undefined);
  return open.length > 0 ? open : untried.length > 0 ? untried : [routed];
}

/** Undefined where it isn't reported, which is no failure of the replica. */
async function loadOf(engine: Engine, signal: AbortSignal): Promise<EngineLoad | undefined> {
  return engine.currentLoad?.(signal).catch(() => undefined);
}

function hasOthers({ inventory }: CandidateSource, { engine }: LocatedModel): boolean {
  return engine.isPrivate !== true && inventory.engines.some((other) => other !== engine && other.isPrivate !== true);
}

/** The routed engine, those that have the model loaded and, if the request must wait, those with room for it. */
async function openCopies(
  source: CandidateSource,
  routed: LocatedModel,
  privacy: Privacy,
  tried: ReadonlySet<string>,
  mustWait: boolean,
  signal: AbortSignal,
) {
  const copies = await copiesOf(source, routed, privacy, tried);
  const looked = await Promise.all(
    copies.map(async (located) => {
      const isLoaded = await source.loaded.has(located, 60_000);
      const isOpen = located === routed || isLoaded || (mustWait && (await hasRoom(source, located, signal)));
      return { located, isLoaded, isOpen };
    }),
  );
  return looked.filter(({ isOpen }) => isOpen);
}

/** The routed engine first, then the others in configured order, one of each memory domain. */
async function copiesOf(
  { inventory, observations }: CandidateSource,
  routed: LocatedModel,
  privacy: Privacy,
  tried: ReadonlySet<string>,
): Promise<readonly LocatedModel[]> {
  if (takesNoMemory(routed) || routed.engine.isPrivate === true) return [routed];
  const lists = await inventory.recentLists();
  const others = lists.flatMap(({ engine, models, message }): readonly LocatedModel[] => {
    if (message !== undefined || tried.has(engine.id) || engine.isPrivate === true) return [];
    if (engine.trust === "remote" && routed.engine.trust === "local" && privacy === "local_only") return [];
    // The same name may have other weights on another engine.
    const model = models.find((held) => isCopy({ engine, model: held }, routed));
    return model === undefined ? [] : [{ engine, model }];
  });
  const domains = new Set([routed.engine.memoryDomain]);
  const free = others.filter((located) => {
    const { memoryDomain } = located.engine;
    if (domains.has(memoryDomain) || takesNoMemory(located)) return false;
    if (observations.of(idOf(located)).breaker?.coolDown !== undefined) return false;
    domains.add(memoryDomain);
    return true;
  });
  return [routed, ...free];
}

/** Whether a copy fits without unloading anything. */
async function hasRoom({ plans, log }: CandidateSource, located: LocatedModel, signal: AbortSignal) {
  try {
    const { fits, evict } = await plans.of(located, defaultContextTokens, signal);
    return fits && evict.length === 0;
  } catch (error) {
    // The request is answered without a second copy.
    log.debug(`no copy of ${located.model.name} on ${located.engine.id}: ${String(error)}`);
    return false;
  }
}

function onEngine(entry: LocatedCandidate, located: LocatedModel): LocatedCandidate {
  const { id, trust } = located.engine;
  return { ...entry, located, candidate: { ...entry.candidate, engine: id, trust } };
}

/** An engine that holds a model, as a possible destination of a request. */
interface Copy {
  /** Requests that wait there or are being answered. */
  readonly assigned: number;
  /** Answers that it computes at the same time. */
  readonly parallel: number;
  /** Loaded or loading. */
  readonly isLoaded: boolean;
  /** Milliseconds of its load. */
  readonly loadMs: number;
  /** It answered the conversation before, and need not read it again. */
  readonly hasPrefix?: boolean;
}

/**
 * Index of the copy where a request is expected to be answered first, after its load and the requests ahead. A copy that has the prefix of the
 * conversation may be one answer later. Among equal copies the one with fewer requests, then the first: without a queue one copy does all the work, and the others
 * are unloaded when their keep-alive ends. A copy that isn't loaded must save a whole answer, since loading it costs
 * memory. `copies[0]` is the default; `answerMs` is the duration of an answer.
 */
export function chooseCopy(copies: readonly Copy[], answerMs: number): number {
  const ranked = copies.map(({ assigned, parallel, isLoaded, loadMs, hasPrefix = false }, index) => {
    // Reading the conversation again is taken for one answer.
    const waitMs = Math.floor(assigned / parallel) * answerMs - (hasPrefix && isLoaded ? answerMs : 0);
    return { index, assigned, costMs: isLoaded || index === 0 ? waitMs : waitMs + loadMs + answerMs };
  });
  const [best] = ranked.toSorted((a, b) => a.costMs - b.costMs || a.assigned - b.assigned || a.index - b.index);
  return best?.index ?? 0;
}

/** A replica of a cluster, as a possible destination of a request. */
interface Replica {
  /** Our own requests there. */
  readonly assigned: number;
  /** Requests that run or wait there, of all programs. */
  readonly reported?: number;
  /** Our own requests since that report. */
  readonly unreported?: number;
  readonly hasPrefix?: boolean;
}

/** Index of the least loaded replica: by what it reports, else by our own requests there; then the first. */
export function chooseReplica(replicas: readonly Replica[]): number {
  const ranked = replicas.map(({ assigned, reported, unreported = 0, hasPrefix = false }, index) => {
    const load = reported === undefined ? assigned : reported + unreported;
    return { index, assigned, load: hasPrefix ? load - 1 : load };
  });
  const [best] = ranked.toSorted((a, b) => a.load - b.load || a.assigned - b.assigned || a.index - b.index);
  return best?.index ?? 0;
}
