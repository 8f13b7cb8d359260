import { connectDaemon } from "../../ipc/handshake.ts";
import type { DaemonStatus } from "../../ipc/protocol.ts";
import type { ConfigChange } from "../../orchestrator/config/change.ts";
import { shownValue } from "../../orchestrator/config/mask.ts";
import { formatPath } from "../../orchestrator/config/paths.ts";
import type { shownSettings } from "../../orchestrator/config/shown.ts";
import { OrchestratorError } from "../../orchestrator/errors.ts";
import { build } from "../../version.ts";
import type { CommandIo } from "./io.ts";

const statusMs = 2_000;

/** What a daemon that holds the home makes of a change; nothing where there is none. */
export async function daemonNotes(home: string, change: ConfigChange, io: CommandIo): Promise<readonly string[]> {
  if (!change.isChanged) return [];
  const status = await daemonStatus(home, io);
  if (status === undefined) return [];
  const { settingsProblem, fixedSettings } = status;
  if (settingsProblem !== undefined) return [`the daemon does not obey it: ${settingsProblem}`];
  if (fixedSettings === undefined) return ["in force from the next call on"];
  const name = formatPath(change.setting.path);
  const winner = Object.entries(fixedSettings).find(
    ([fixed]) => fixed === name || fixed.startsWith(`${name}.`) || name.startsWith(`${fixed}.`),
  );
  // What each caller brings along for itself is no concern of the daemon's.
  if (winner === undefined || change.setting.scope !== "daemon") return ["in force at once"];
  return [`not in force: the daemon was started with ${winner[1]}; ollm daemon restart without it`];
}

/**
 * Where a daemon that holds the home obeys something else than a shell like this would; nothing where there is none.
 */
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
      return [`${source} is not obeyed by the running daemon, which was started without it; ollm daemon restart`];
    }
    const obeyed = fixedValues?.[path];
    if (source === started && (obeyed === undefined || JSON.stringify(obeyed) === JSON.stringify(value))) return [];
    const is = obeyed === undefined ? "" : `${path} is ${shownValue([], obeyed)}: `;
    return [`${is}the running daemon was started with ${started}, which goes before ${path} here`];
  });
}

/** Undefined where no daemon answers. */
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
