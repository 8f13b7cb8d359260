import type { Log } from "../api/log.ts";
import { type Engine, engineKey } from "../engines/engine.ts";
import { messageOf } from "../util/values.ts";
import { AsyncLocalStorage } from "node:async_hooks";
import { PrivacyLocked } from "../api/errors.ts";
import type { CallerContext, Privacy } from "../api/types.ts";
import { allowRemote } from "./located-model.ts";

export function createEngineSet(first: readonly Engine[], log: Log) {
  let current = first;
  const leaving = new Set<Engine>();

  async function end(engine: Engine, drain: (engine: Engine) => Promise<void>): Promise<void> {
    try {
      await drain(engine);
    } catch (error) {
      log.warn(`engines: draining ${engine.id}: ${messageOf(error)}`);
    }
    await close(engine);
    leaving.delete(engine);
  }

  async function close(engine: Engine): Promise<void> {
    try {
      await engine.close();
    } catch (error) {
      log.warn(`engines: closing ${engine.id}: ${messageOf(error)}`);
    }
  }

  return {
    /** In order of preference. */
    current: () => current,
    leaving: () => [...leaving],
    /**
     * Uses `next` from now on. Returns the replaced engines; each is closed when `drain` has resolved for it, and can be
     * used until then.
     */
    replace(next: readonly Engine[], drain: (engine: Engine) => Promise<void>) {
      const replaced = current.filter((engine) => !next.includes(engine));
      current = next;
      for (const engine of replaced) {
        leaving.add(engine);
        void end(engine, drain);
      }
      return replaced;
    },
    /** Closes all engines, including replaced ones. */
    async close() {
      await Promise.all([...current, ...leaving].map(close));
    },
  };
}

/** Whether an engine is optional depends on the disk, which is read at most this often. */
const freshMs = 5_000;

/** Which engines are reported when they don't respond: all but optional ones that have never responded. `kept` saves the hosts that responded; absent: they are forgotten with the process. */
export function createExpectedEngines(parts: {
  readonly kept: { hosts(): Promise<readonly string[]>; noteHost(host: string): void } | undefined;
  readonly now: () => number;
}) {
  const { kept, now } = parts;
  const responded = new Set<string>();
  const known = new WeakMap<Engine, { readonly atMs: number; readonly isExpected: Promise<boolean> }>();

  async function look(engine: Engine, host: string, isOptional: () => Promise<boolean>): Promise<boolean> {
    if ((await kept?.hosts())?.includes(host) === true) responded.add(host);
    return responded.has(host) || !(await isOptional());
  }

  return {
    isExpected(engine: Engine): Promise<boolean> {
      const host = engineKey(engine);
      const { isOptional } = engine;
      if (isOptional === undefined || host === undefined || responded.has(host)) return Promise.resolve(true);
      const last = known.get(engine);
      if (last !== undefined && Math.abs(now() - last.atMs) < freshMs) return last.isExpected;
      const isExpected = look(engine, host, isOptional);
      known.set(engine, { atMs: now(), isExpected });
      return isExpected;
    },
    noteResponse(engine: Engine) {
      const host = engineKey(engine);
      if (engine.isOptional === undefined || host === undefined || responded.has(host)) return;
      responded.add(host);
      void kept?.hosts().then((hosts) => {
        if (!hosts.includes(host)) kept.noteHost(host);
      });
    },
  };
}

/** Methods of the port, and of its groups, that don't reach the server. */
const local: ReadonlySet<PropertyKey> = new Set(
  "cardFailure cachesOf answersAtOnce pricesOf isOptional connections close loadShape processOf schedulerBytes".split(
    " ",
  ),
);

/** The other groups are those of the embedded engine, which is local. */
const groups: ReadonlySet<PropertyKey> = new Set("library creation residency embedding tokenizer".split(" "));

/** * Keeps every connection to an engine that is not local closed while `privacy` is `local_only`: prompts, and lists of models and health checks, too. A client may allow what the daemon's own setting doesn't, for the work of its calls. `privacy` is the daemon's own setting at the moment. */
export function createRemoteLock(privacy: () => Privacy) {
  const allowing = new AsyncLocalStorage<true>();
  const guards = new WeakMap<Engine, Engine>();
  const isClosed = () => privacy() === "local_only" && allowing.getStore() === undefined;

  function guard<Part extends object>(part: Part, refusal: () => PrivacyLocked): Part {
    return new Proxy(part, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value === "function") {
          return (...given: unknown[]): unknown => {
            if (!isClosed() || local.has(name)) return Reflect.apply(value, target, given);
            if (name !== "health") return Promise.reject(refusal());
            return Promise.resolve({ isReachable: false, message: refusal().message });
          };
        }
        return groups.has(name) && typeof value === "object" && value !== null ? guard(value, refusal) : value;
      },
    });
  }

  return {
    /** The engine, each of whose calls fails with `PrivacyLocked` while it is locked; a local one as it is. */
    guarded(engine: Engine): Engine {
      if (engine.trust === "local") return engine;
      const known =
        guards.get(engine) ?? guard(engine, () => new PrivacyLocked(lockedMessage(engine), { next: allowRemote }));
      guards.set(engine, known);
      return known;
    },
    /** Whether the engine must not be contacted now. */
    isLocked: ({ trust }: Engine) => trust === "remote" && isClosed(),
    /** Runs work for a caller, with all that it starts. */
    serving: <Result>({ settings }: Pick<CallerContext, "settings">, work: () => Result): Result =>
      settings.privacy === "allow_remote" && isClosed() ? allowing.run(true, work) : work(),
  };
}

export function lockedMessage({ id }: Pick<Engine, "id">): string {
  return `${id} is not local and was not contacted: privacy is local_only`;
}
