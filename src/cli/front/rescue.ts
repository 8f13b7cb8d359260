import { accessSync, chmodSync, constants, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { ensureRunFolder, listenFresh, realHome } from "../../ipc/run-folder.ts";
import { type StartOptions, startDaemon } from "../../ipc/start-daemon.ts";
import { ensureToken } from "../../ipc/token.ts";
import { requireTrustedHome } from "../../ipc/trusted-home.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import { type ErrorData, withSteps } from "../../next-steps/render.ts";
import { orDoItYourself, toolSteps } from "../../next-steps/tools.ts";
import { messageOf } from "../../orchestrator/util/values.ts";

export interface RescueOptions extends Pick<
  StartOptions,
  "home" | "program" | "node" | "environment" | "say" | "signal"
> {
  /** The command line, without node and script. */
  readonly words: readonly string[];
  /** The client is our own shell, which gets failures as data: neither they nor the start of a daemon are printed. */
  readonly isForShell?: boolean;
}

export type Rescue = typeof rescue;

/**
 * What a front needs when no daemon answers; in a file of its own, because most starts find a daemon. An object, so that
 * tests can pass another one to the front.
 */
export const rescue = {
  /**
   * Why no daemon can ever use this home: it can't be written, or sockets can't be created. Creates what is missing;
   * throws like `requireTrustedHome`.
   */
  async whyUnusable(home: string): Promise<string | undefined> {
    try {
      const folder = ensureRunFolder(home);
      accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
      // It contains tokens and prompts. On Windows the profile's permissions protect it.
      if (process.platform !== "win32" && (statSync(home).mode & 0o077) !== 0) chmodSync(home, 0o700);
      ensureToken(home);
    } catch (error) {
      return `${home} can't be used (${messageOf(error)})`;
    }
    requireTrustedHome(home);
    try {
      await trySocket(realHome(home));
    } catch (error) {
      return `no socket can be created for ${home} (${messageOf(error)})`;
    }
  },

  /** Resolves when a daemon answers, ours or another process's. Throws `DaemonUnavailable` that names the log. */
  async start(options: RescueOptions): Promise<void> {
    const isForShell = options.isForShell === true;
    if (!isForShell) options.say(`no daemon is running for ${options.home}; starting one`);
    const { pid, version } = await startDaemon({ ...options, flags: daemonFlags(options.words) });
    if (!isForShell) options.say(`connected to the daemon (pid ${pid}, version ${version})`);
  },

  /** The error with its next steps: for a terminal, for a client, and for one whose call hands over work. */
  textsOf: (error: ErrorData) => ({
    terminal: withSteps(error, commandSteps, "\n  "),
    client: withSteps(error, toolSteps, ". "),
    delegation: withSteps({ ...error, next: orDoItYourself(error.next) }, toolSteps, ". "),
  }),
};

/**
 * Flags that the daemon applies for its whole life, from the command line of the front that starts it; later fronts
 * get a notice that theirs are ignored. The last one counts, as in `parseArgs`.
 */
function daemonFlags(words: readonly string[]): readonly string[] {
  let host: string | undefined;
  for (const [at, word] of words.entries()) {
    if (word === "--host") host = words[at + 1];
    else if (word.startsWith("--host=")) host = word.slice("--host=".length);
  }
  return host === undefined ? [] : [`--host=${host}`];
}

async function trySocket(home: string): Promise<void> {
  const server = createServer();
  const socket = await listenFresh(server, home);
  await new Promise((resolve) => server.close(resolve));
  if (process.platform !== "win32") rmSync(socket, { force: true });
}
