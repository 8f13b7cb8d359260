import type { Pool } from "undici";
import type { ConnectionUsage, PoolUsage } from "../api/facade-status.ts";
import type { AddressGuard } from "./address-guard.ts";
import { defined } from "../util/values.ts";

export interface PoolOptions {
  /** Maximum connections for short calls. */
  readonly connections: number;
  /** Milliseconds after which an idle connection is closed. */
  readonly keepAliveMs: number;
  /** Milliseconds until a connection must be open; absent: undici's default. */
  readonly connectMs?: number;
}

/** `control`: short, shares a few connections. `generation`: may take minutes, gets a connection of its own. */
export type PoolName = "control" | "generation";

const importUndici = () => import("undici");
type Undici = Awaited<ReturnType<typeof importUndici>>;
type Pools = PoolOptions & Readonly<Record<PoolName, Pool>>;

/** The connections to one server. `guard` checks the address of each of them. */
export function createPools(url: URL, guard: AddressGuard, optionsNow: () => PoolOptions) {
  let loading: Promise<Undici> | undefined;
  let pools: Pools | undefined;
  /** Pools with earlier options, which finish their requests. */
  const replaced = new Set<Pools>();
  let requests = 0;
  let opened = 0;
  /** Connections that could not be opened: the requests that asked for them failed. */
  let refused = 0;
  let most = 0;

  function open({ connections, keepAliveMs, connectMs }: PoolOptions, undici: Undici): Pools {
    // Exchanges have their own timeouts; undici's would end a load or a long prompt after five minutes.
    const options = {
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        ...defined({ timeout: connectMs }),
        ...(guard.isNamed(url) ? {} : { lookup: guard.lookup }),
      },
    };
    const control = new undici.Pool(url.origin, { ...options, connections });
    const generation = new undici.Pool(url.origin, options);
    for (const pool of [control, generation]) {
      pool.on("connect", () => (opened += 1));
      pool.on("connectionError", () => (refused += 1));
    }
    return { connections, keepAliveMs, control, generation };
  }

  return {
    /** Loads the package on first use, so that it doesn't slow down the start. Throws if the guard refuses the address. */
    async undici(): Promise<Undici> {
      // Once: neither the address nor the guard's rules change.
      if (loading === undefined) guard.check(url);
      loading ??= importUndici();
      try {
        return await loading;
      } catch (error) {
        // The next request tries again.
        loading = undefined;
        throw error;
      }
    },
    /** The pool for one request, which counts from now on. */
    poolFor(name: PoolName, undici: Undici): Pool {
      requests += 1;
      if (name === "control") {
        // With the one that comes now.
        most = Math.max(most, (pools?.control.stats.size ?? 0) + 1);
      }
      const options = optionsNow();
      const before = pools;
      if (before?.connections === options.connections && before.keepAliveMs === options.keepAliveMs)
        return before[name];
      if (before !== undefined) {
        replaced.add(before);
        const closed = Promise.allSettled([before.control.close(), before.generation.close()]);
        void closed.then(() => replaced.delete(before));
      }
      pools = open(options, undici);
      return pools[name];
    },
    usage(): ConnectionUsage {
      const of = (pool: Pool | undefined): PoolUsage => ({
        open: pool?.stats.connected ?? 0,
        running: pool?.stats.running ?? 0,
        queued: pool?.stats.queued ?? 0,
      });
      return {
        control: { ...of(pools?.control), limit: optionsNow().connections },
        generation: of(pools?.generation),
        requests: Math.max(0, requests - refused),
        opened,
        most,
      };
    },
    async close(): Promise<void> {
      await loading?.catch(() => undefined);
      const all = [...(pools === undefined ? [] : [pools]), ...replaced];
      await Promise.all(all.flatMap(({ control, generation }) => [control.destroy(), generation.destroy()]));
    },
  };
}
