import type { DaemonStatus } from "../../ipc/protocol.ts";
import { callerSettings } from "../../orchestrator/config/load.ts";
import { shownSettings } from "../../orchestrator/config/shown.ts";
import type { Listeners } from "./listeners.ts";
import type { OpenOrchestrator } from "./open-orchestrator.ts";
import type { Client, DaemonParts } from "./caller-home.ts";
import { defined, messageOf } from "../../orchestrator/util/values.ts";
import { within } from "../../orchestrator/util/timers.ts";

/** An engine that hangs must not delay the status. */
const engineWaitMs = 2_000;

/** The data of `ollm daemon status`. */
export async function daemonStatus(
  parts: Pick<DaemonParts, "home" | "build" | "isStandalone" | "orchestrator" | "claim" | "log">,
  clients: readonly Client[],
  listeners: Pick<Listeners, "pages" | "urls"> | undefined,
): Promise<DaemonStatus> {
  // The settings may have changed a moment ago.
  await parts.orchestrator.current()?.live.look();
  const settingsProblem = parts.orchestrator.problem();
  const record = parts.claim()?.record;
  const opened = parts.orchestrator.current();
  const problems = opened?.orchestrator.problems() ?? [];
  const running = opened?.orchestrator.jobs.list().filter(({ state }) => state === "running") ?? [];
  return {
    pid: process.pid,
    version: parts.build,
    socket: record?.socket ?? "",
    home: parts.home,
    startedAt: record?.startedAt ?? new Date().toISOString(),
    isStandalone: parts.isStandalone,
    clients: clients.map(({ served, connectedAt }) => ({ client: served.name() ?? "unknown", connectedAt })),
    listeners: listeners?.urls ?? [],
    loaded: opened === undefined ? [] : await loadedModels(opened, parts),
    jobs: running.length,
    work: opened?.orchestrator.activity().operations.map(({ title }) => title) ?? [],
    ...(problems.length > 0 && { problems }),
    ...defined({ settingsProblem }),
    ...(opened && fixedSettings(opened)),
  };
}

function fixedSettings({ live }: OpenOrchestrator): Pick<DaemonStatus, "fixedSettings" | "fixedValues"> {
  const sources = new Map([...live.sources()].filter(([path]) => live.isFixed(path)));
  const shown = shownSettings(live.current(), sources).filter(({ path }) => sources.has(path));
  return {
    fixedSettings: Object.fromEntries(sources),
    fixedValues: Object.fromEntries(shown.map(({ path, value }) => [path, value])),
  };
}

async function loadedModels({ orchestrator, settings }: OpenOrchestrator, { log }: Pick<DaemonParts, "log">) {
  const signal = AbortSignal.timeout(engineWaitMs);
  const caller = { id: "daemon", client: "ollm", roots: [], settings: callerSettings(settings), signal };
  const asked = () => orchestrator.ramStatus(caller);
  try {
    const { loaded } = await within({ ms: engineWaitMs }, asked, () => {
      throw new Error(`no answer within ${engineWaitMs} ms`);
    });
    return loaded;
  } catch (error) {
    log.warn(`loaded models for the status: ${messageOf(error)}`);
    return [];
  }
}
