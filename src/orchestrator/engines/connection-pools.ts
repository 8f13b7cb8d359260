import type { Pool } from "undici";
import type { ConnectionUsage, PoolUsage } from "../api/facade-status.ts";
import type { AddressGuard } from "./address-guard.ts";
import { defined } from "../util/defined.ts";

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
export class ConnectionPools {
  readonly #url: URL;
  readonly #guard: AddressGuard;
  readonly #options: () => PoolOptions;
  #undici: Promise<Undici> | undefined;
  #pools: Pools | undefined;
  /** Pools with earlier options, which finish their requests. */
  readonly #replaced = new Set<Pools>();
  #requests = 0;
  #opened = 0;
  /** Connections that could not be opened: the requests that asked for them failed. */
  #refused = 0;
  #most = 0;

  /** `options` are asked before each request: a change applies from the next one on. */
  constructor(url: URL, guard: AddressGuard, options: () => PoolOptions) {
    this.#url = url;
    this.#guard = guard;
    this.#options = options;
  }

  /** Loads the package on first use, so that it doesn't slow down the start. Throws if the guard refuses the address. */
  async undici(): Promise<Undici> {
    // Once: neither the address nor the guard's rules change.
    if (this.#undici === undefined) this.#guard.check(this.#url);
    this.#undici ??= importUndici();
    try {
      return await this.#undici;
    } catch (error) {
      // The next request tries again.
      this.#undici = undefined;
      throw error;
    }
  }

  /** The pool for one request, which counts from now on. */
  poolFor(name: PoolName, undici: Undici): Pool {
    this.#requests += 1;
    if (name === "control") {
      // With the one that comes now.
      this.#most = Math.max(this.#most, (this.#pools?.control.stats.size ?? 0) + 1);
    }
    const options = this.#options();
    const before = this.#pools;
    if (before?.connections === options.connections && before.keepAliveMs === options.keepAliveMs) return before[name];
    if (before !== undefined) {
      this.#replaced.add(before);
      const closed = Promise.allSettled([before.control.close(), before.generation.close()]);
      void closed.then(() => this.#replaced.delete(before));
    }
    this.#pools = this.#open(options, undici);
    return this.#pools[name];
  }

  usage(): ConnectionUsage {
    const of = (pool: Pool | undefined): PoolUsage => ({
      open: pool?.stats.connected ?? 0,
      running: pool?.stats.running ?? 0,
      queued: pool?.stats.queued ?? 0,
    });
    return {
      control: { ...of(this.#pools?.control), limit: this.#options().connections },
      generation: of(this.#pools?.generation),
      requests: Math.max(0, this.#requests - this.#refused),
      opened: this.#opened,
      most: this.#most,
    };
  }

  async close(): Promise<void> {
    await this.#undici?.catch(() => undefined);
    const all = [...(this.#pools === undefined ? [] : [this.#pools]), ...this.#replaced];
    await Promise.all(all.flatMap(({ control, generation }) => [control.destroy(), generation.destroy()]));
  }

  #open({ connections, keepAliveMs, connectMs }: PoolOptions, undici: Undici): Pools {
    // Exchanges have their own timeouts; undici's would end a load or a long prompt after five minutes.
    const options = {
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        ...defined({ timeout: connectMs }),
        ...(this.#guard.isNamed(this.#url) ? {} : { lookup: this.#guard.lookup }),
      },
    };
    const control = new undici.Pool(this.#url.origin, { ...options, connections });
    const generation = new undici.Pool(this.#url.origin, options);
    for (const pool of [control, generation]) {
      pool.on("connect", () => (this.#opened += 1));
      pool.on("connectionError", () => (this.#refused += 1));
    }
    return { connections, keepAliveMs, control, generation };
  }
}
