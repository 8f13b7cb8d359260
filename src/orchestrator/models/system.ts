import type { Engine } from "../engines/engine.ts";
import type { MemoryProbe } from "../memory/measure/probe.ts";
import type { Inventory } from "./inventory.ts";
import { sameModel } from "../util/model-name.ts";
import { pressureWarnings } from "../memory/pressure.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { EngineStatus, RamStatus } from "../api/facade-status.ts";

export interface StatusSource {
  readonly inventory: Inventory;
  readonly probe: MemoryProbe;
  readonly isPinned: (name: string) => boolean;
  /** Time of the last use of a model, milliseconds since the epoch. */
  readonly lastUsedMs: (engine: Engine, name: string) => number | undefined;
}

export async function ramStatus({ inventory, probe, isPinned, lastUsedMs }: StatusSource): Promise<RamStatus> {
  const [sample, loaded] = await Promise.all([
    probe.sample(),
    Promise.all(
      inventory.engines.map(async (engine) => {
        const residents = await inventory.resident(engine, 0);
        const others = await otherNames(inventory, engine);
        return residents.map(({ name, sizeBytes, contextTokens, expiresAt }) => ({
          name,
          engine: engine.id,
          ...(others.has(name) && { alsoAnswersFor: others.get(name) ?? [] }),
          bytes: sizeBytes,
          ...([name, ...(others.get(name) ?? [])].some(isPinned) && { isPinned: true }),
          ...(contextTokens !== undefined && { contextTokens }),
          ...(expiresAt !== undefined && { expiresAt }),
          ...isoOf("lastUsedAt", lastUsedMs(engine, name)),
        }));
      }),
    ),
  ]);
  const { totalBytes, availableBytes, swapTotalBytes, swapUsedBytes, gpus } = sample;
  const warnings = pressureWarnings(sample);
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

/** Undefined for an engine that does not respond and is not expected to. */
export async function engineStatus(
  inventory: Inventory,
  engine: Engine,
  signal: AbortSignal,
): Promise<EngineStatus | undefined> {
  const [health, isInstalled, lists] = await Promise.all([
    engine.health(signal),
    engine.installation?.isInstalled() ?? true,
    inventory.recentLists(),
  ]);
  if (!health.isReachable && !(await inventory.isExpected(engine))) return undefined;
  const list = lists.find((each) => each.engine === engine);
  const stuck = list?.staleSince === undefined ? list?.message : undefined;
  const answering = stuck === undefined ? "ok" : "stuck";
  const status = !isInstalled ? "not_installed" : health.isReachable ? answering : "unreachable";
  const message = isInstalled
    ? withAddress(health.message ?? stuck, ambiguousAddress(inventory, engine))
    : `installed on demand (a ${formatBytes(engine.installation?.downloadBytes ?? 0)} download)`;
  return {
    id: engine.id,
    kind: engine.kind,
    trust: engine.trust,
    health: status,
    ...(health.version === undefined ? {} : { version: health.version }),
    ...(message === undefined ? {} : { message }),
    modelCount: list?.models.length ?? 0,
  };
}

/** The other names that each loaded model's process serves, by the name it was loaded by. */
async function otherNames(inventory: Inventory, engine: Engine): Promise<ReadonlyMap<string, readonly string[]>> {
  const others = new Map<string, string[]>();
  for (const model of inventory.lastList(engine)) {
    const resident = await inventory.residentOf({ engine, model }, 60_000);
    if (resident === undefined || sameModel(resident.name, model.name)) continue;
    others.set(resident.name, [...(others.get(resident.name) ?? []), model.name]);
  }
  return others;
}

/** The address of an engine if there are several of its kind. Addresses contain no credentials (`parseOllamaHost`). */
function ambiguousAddress({ engines }: Pick<Inventory, "engines">, { kind, address }: Engine): string | undefined {
  return engines.filter((other) => other.kind === kind).length > 1 ? address : undefined;
}

function withAddress(message: string | undefined, address: string | undefined): string | undefined {
  if (address === undefined || message?.includes(address.replace(/^https?:\/\//, "")) === true) return message;
  return message === undefined ? `at ${address}` : `at ${address}: ${message}`;
}

function isoOf<Name extends string>(name: Name, ms: number | undefined): { readonly [Key in Name]?: string } {
  return ms === undefined ? {} : ({ [name]: new Date(ms).toISOString() } as { readonly [Key in Name]: string });
}
