import * as z from "zod";
import type { Log } from "../api/log.ts";
import { type Engine, engineKey } from "../engines/engine.ts";
import type { Inventory } from "../catalog/inventory.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { openDocument, openedOnce } from "../storage/document.ts";
import { sameModel } from "../util/model-name.ts";
import type { KeepAlive } from "./keep-alive.ts";
import { isForever } from "./maintenance-plan.ts";
import type { Slots } from "./slots.ts";
import { messageOf } from "../util/values.ts";

const load = z.object({
  /** Its `persistentKey`. */
  engine: z.string(),
  name: z.string(),
  digest: z.string().optional(),
  /** Keep-alive of the request, in seconds. */
  asked: z.number().optional(),
  /** Keep-alive last sent to the engine, in seconds. */
  told: z.number().optional(),
  /** Milliseconds since the epoch of its last known use, rounded down to `activityStepMs`. */
  activeMs: z.number(),
});
/** The address identifies the engine even if its id changes. */
const persistentKey = (engine: Engine): string => engineKey(engine) ?? engine.id;

const state = z.object({ loads: z.array(load) });

type State = z.output<typeof state>;

/** The reported expiry and the keep-alive sent may differ by the length of a request. */
const tolerantMs = 60_000;
/** A use changes the saved state at most this often. */
const activityStepMs = 300_000;

/** The models loaded by this program, on disk: pinned models of a killed daemon would otherwise stay loaded forever. */
export function createOwnedModelsStore(parts: {
  readonly files?: DocumentFiles;
  readonly inventory: Inventory;
  readonly slots: Slots;
  readonly keepAlive: Pick<KeepAlive, "refresh">;
  readonly now: () => number;
  readonly log: Log;
}) {
  const { inventory, slots, now, log } = parts;
  let writing: Promise<void> | undefined;
  let isStale = false;
  let wasAdopted = false;
  /** Models of engines that did not respond at the start, kept for the next daemon. */
  let unseen: State["loads"] = [];

  const stored = openedOnce(() =>
    openDocument<State, State>({
      ...(parts.files && { files: parts.files }),
      name: "loads",
      schemaVersion: 1,
      empty: () => ({ loads: [] }),
      state,
      event: state,
      apply: (before, after) => void (before.loads = after.loads),
      log,
    }),
  );

  function current(): State {
    // Models of private engines end with the daemon.
    const servers = inventory.engines.filter(({ isPrivate }) => isPrivate !== true);
    const loads = servers.flatMap((engine) =>
      slots.owned(engine).map(({ ownedLoad, lastActivityMs }) => {
        const activeMs = lastActivityMs - (lastActivityMs % activityStepMs);
        // `withEvictionBias` changes keep-alives slightly with each answer, which is not worth a write.
        const told = ownedLoad.sentSeconds === undefined ? undefined : Math.floor(ownedLoad.sentSeconds);
        const { name, digest, requestedSeconds: asked } = ownedLoad;
        return { engine: persistentKey(engine), name, digest, asked, told, activeMs };
      }),
    );
    return { loads: [...loads, ...unseen.filter(({ engine }) => !loads.some((own) => own.engine === engine))] };
  }

  async function write(): Promise<void> {
    while (isStale) {
      isStale = false;
      try {
        const document = await stored.get();
        const loads = current();
        if (JSON.stringify(loads) !== JSON.stringify({ loads: document.state.loads })) await document.append(loads);
      } catch (error) {
        // Needed only if this daemon is killed.
        log.debug(`owned models: not saved: ${messageOf(error)}`);
      }
    }
    writing = undefined;
  }

  function changed(): void {
    // Saving before the file was read would overwrite it.
    if (!wasAdopted) return;
    isStale = true;
    writing ??= write();
  }

  return {
    /** Saves the loaded models and their last uses in the background, if they changed. */
    changed,
    /**
     * Takes over models of an earlier daemon that are still loaded and sends their current keep-alive, which ends pins of
     * that daemon. A model that another program has used with its own keep-alive since is left to that program.
     */
    async adopt(signal: AbortSignal) {
      try {
        const kept = [...(await stored.get()).state.loads];
        for (const engine of inventory.engines) {
          const own = kept.filter(({ engine: key }) => key === persistentKey(engine));
          if (own.length === 0) continue;
          const residents = await inventory.resident(engine, 0);
          if (inventory.isUnresponsive(engine)) unseen = [...unseen, ...own];
          for (const resident of residents) {
            const known = own.find(({ name }) => sameModel(name, resident.name));
            if (known === undefined || slots.of(engine, resident.name).ownedLoad !== undefined) continue;
            const isOther =
              known.digest !== undefined && resident.digest !== undefined && known.digest !== resident.digest;
            if (isOther || !isUnchanged(known, resident.expiresAt, now())) continue;
            const { name, digest, asked, told } = known;
            slots
              .of(engine, name)
              .own(
                { name, digest, requestedSeconds: asked, sentSeconds: told },
                keepAliveStartMs(told, resident.expiresAt, now()),
              );
          }
        }
        await parts.keepAlive.refresh(signal);
      } catch (error) {
        log.warn(`owned models: those of an earlier daemon were not taken over: ${messageOf(error)}`);
      } finally {
        wasAdopted = true;
        changed();
      }
    },
    async close() {
      changed();
      await writing;
      await stored.close();
    },
  };
}

/** Start of the keep-alive, derived from the expiry: a later start would look like another program's request. */
function keepAliveStartMs(told: number | undefined, expiresAt: string | undefined, nowMs: number): number {
  const beganMs = Date.parse(expiresAt ?? "") - (told ?? 0) * 1_000;
  return told === undefined || told < 0 || Number.isNaN(beganMs) ? nowMs : Math.min(nowMs, beganMs);
}

/** Whether this can be the same load, with no keep-alive set by another program since. */
function isUnchanged({ told, activeMs }: State["loads"][number], expiresAt: string | undefined, nowMs: number) {
  const expiresAtMs = Date.parse(expiresAt ?? "");
  if (told === undefined || Number.isNaN(expiresAtMs)) return false;
  if (told < 0) return isForever(expiresAtMs, nowMs);
  const keepAliveMs = told * 1_000 + tolerantMs;
  return nowMs <= activeMs + activityStepMs + keepAliveMs && expiresAtMs <= nowMs + keepAliveMs;
}
