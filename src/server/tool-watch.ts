import type { Log } from "../orchestrator/log.ts";

/** Tells a connection's client when other tools are on offer than those it has listed. */
export interface ToolWatch<Facts> {
  /** The client knows these now; `facts` are those of its request. */
  listed(names: readonly string[], facts: Facts): void;
  /** Something happened that may have changed them. A client that listed none is told only if `isCertain`. */
  recheck(isCertain?: boolean): void;
  close(): void;
}

/** What a caller sees of settings and files may be this old: who is told of a change too soon would read the old ones. */
const settleMs = 1_200;

/** `offered` answers what is on offer now; it may fail, and then nothing is told. */
export function createToolWatch<Facts>(parts: {
  readonly offered: (facts: Facts) => Promise<readonly string[]>;
  readonly tell: () => Promise<void>;
  /** Runs `action` once after `delayMs`, keeping no process alive; the answer stops it. */
  readonly after: (delayMs: number, action: () => void) => () => void;
  readonly log: Log;
}): ToolWatch<Facts> {
  let known: { readonly names: string; readonly facts: Facts } | undefined;
  let cancelTimer = (): void => undefined;
  let isClosed = false;

  /** Whether the client was told. */
  async function check(isCertain: boolean): Promise<boolean> {
    if (isClosed) return false;
    if (known === undefined) {
      if (isCertain) await parts.tell();
      return isCertain;
    }
    const { facts, names } = known;
    const now = (await parts.offered(facts)).join(" ");
    if (now === names || isClosed) return false;
    // Told once for each difference, whether or not the client lists anew.
    known = { facts, names: now };
    await parts.tell();
    return true;
  }

  const failed = (error: unknown): void => parts.log.debug(`tools/list_changed: ${String(error)}`);

  return {
    listed(names, facts) {
      known = { names: names.join(" "), facts };
    },
    recheck(isCertain = false) {
      check(isCertain).then((isTold) => {
        if (isTold || !isCertain || isClosed) return;
        cancelTimer();
        cancelTimer = parts.after(settleMs, () => void check(true).catch(failed));
      }, failed);
    },
    close() {
      isClosed = true;
      cancelTimer();
    },
  };
}
