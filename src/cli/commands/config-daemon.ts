import { connectDaemon } from "../../ipc/handshake.ts";
import type { DaemonStatus } from "../../ipc/protocol.ts";
import type { ConfigChange } from "../../orchestrator/config/change.ts";
import { shownValue } from "../../orchestrator/config/mask.ts";
import { formatPath } from "../../orchestrator/config/paths.ts";
import type { shownSettings } from "../../orchestrator/config/shown.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { build } from "../../ipc/version.ts";
import type { CommandIo } from "../terminal/io.ts";

const statusMs = 2_000;

/** Notes on how the running daemon applies a change; empty if no daemon runs. */
export async function daemonNotes(home: string, change: ConfigChange, io: CommandIo): Promise<readonly string[]> {
  if (!change.isChanged) return [];
  const status = await daemonStatus(home, io);
  if (status === undefined) return [];
  const { settingsProblem, fixedSettings } = status;
  if (settingsProblem !== undefined) return [`the daemon does not use it: ${settingsProblem}`];
  if (fixedSettings === undefined) return ["in effect from the next call"];
  const name = formatPath(change.setting.path);
  const winner = Object.entries(fixedSettings).find(
    ([fixed]) => fixed === name || fixed.startsWith(`${name}.`) || name.startsWith(`${fixed}.`),
  );
  // Settings of callers come with each call, whatever the daemon was started with.
  if (winner === undefined || change.setting.scope !== "daemon") return ["in effect"];
  return [`not in effect: the daemon was started with ${winner[1]}; run ollm daemon restart without it`];
}

/** Notes on settings that have another value in the running daemon than in this shell; empty if no daemon runs. */
export async function differences(
  home: string,
  settings: ReturnType<typeof shownSettings>,
  io: CommandIo,
): Promise<readonly string[]> {
  const { fixedSettings, fixedValues } = (await daemonStatus(home, io)) ?? {};
  if (fixedSettings === undefined) return [];
  return settings.flatMap(({ path, value, source, scope }) => {
    if (scope !== "daemon") return [];
    const started = fixedSettings[path];
    if (started === undefined) {
      if (!/^(?:OLLM_|--)/.test(source)) return [];
      return [`the running daemon does not use ${source}: it was started without it; run ollm daemon restart`];
    }
    const obeyed = fixedValues?.[path];
    if (source === started && (obeyed === undefined || JSON.stringify(obeyed) === JSON.stringify(value))) return [];
    const is = obeyed === undefined ? "" : `${path} is ${shownValue([], obeyed)}: `;
    return [`${is}the running daemon was started with ${started}, which overrides ${path}`];
  });
}

/** Returns the status of the daemon; undefined if none responds. */
async function daemonStatus(home: string, io: CommandIo): Promise<DaemonStatus | undefined> {
  const { workingDirectory } = io;
  const hello = { version: build, purpose: "status", workingDirectory, arguments: [], environment: {} } as const;
  try {
    const limits = { timeoutMs: statusMs, welcomeTimeoutMs: 2 * statusMs };
    const { socket, welcome } = await connectDaemon(home, hello, limits);
    try {
      const said = await welcome;
      return said.ok ? said.status : undefined;
    } finally {
      socket.destroy();
    }
  } catch (error) {
    if (error instanceof OrchestratorError) return undefined;
    throw error;
  }
}
