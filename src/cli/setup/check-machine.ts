import { constants, existsSync } from "node:fs";
import { access, lstat, stat } from "node:fs/promises";
import path from "node:path";
import { newestClaim } from "../../ipc/claim-record.ts";
import { DaemonUnreachable, askDaemon } from "../../ipc/handshake.ts";
import { daemonLogFile, freshSocketPath, httpTokenFile, tokenFile } from "../../ipc/run-folder.ts";
import { homeProblem } from "../../ipc/trusted-home.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { loadSettings } from "../../orchestrator/config/load.ts";
import { pressureWarnings } from "../../orchestrator/memory/state.ts";
import { counted, formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { isNewEnough, oldestNode } from "../../orchestrator/util/programs.ts";
import { type Check, type Checker, type DoctorWorld, fail, ok, stepsFor, warn } from "./check.ts";
import { messageOf } from "../../orchestrator/util/values.ts";

/** Room for a medium-sized model. */
const littleDiskBytes = 5e9;
/** Room for the embedded engine alone. */
const noDiskBytes = 0.5e9;
const correct = advice("correct the value where it is set");

/** The checks of this machine, of the home and of the daemon, by name, in the order in which they are shown. */
export const machineCheckers = {
  /** Checks the Node that runs this program, which setup also writes into the entries of clients. */
  async node({ io, runtime }) {
    const { nodeVersion, isElectron } = runtime;
    const text = `${nodeVersion} at ${io.node}`;
    if (!isNewEnough(nodeVersion)) {
      return [fail("node", text, advice(`install Node ${oldestNode} or newer from nodejs.org`))];
    }
    if (isElectron) {
      return [
        warn(
          "node",
          `${text}, part of an application; the embedded engine requires a Node of its own`,
          advice("install Node from nodejs.org"),
        ),
      ];
    }
    return [ok("node", text)];
  },
  /** Checks that the home is private and writable. A missing one is fine: the first start creates it. */
  async home({ home, io }) {
    const refusal = homeProblem(home, { closes: false, isWhole: true });
    if (refusal !== undefined) return [fail("home", refusal.message, stepsFor(refusal, { step: "setHome" }))];
    const facts = await stat(home).catch((error: NodeJS.ErrnoException) => error);
    if (facts instanceof Error) {
      if (facts.code !== "ENOENT") return [unusable(home, facts.message)];
      const problem = await writeProblem(nearestFolder(home));
      return [problem === undefined ? ok("home", `${home}, created at the first start`) : unusable(home, problem)];
    }
    if (!facts.isDirectory()) return [unusable(home, "it is not a folder")];
    const problem = await writeProblem(home);
    if (problem !== undefined) return [unusable(home, problem)];
    if (io.platform !== "win32" && (facts.mode & 0o077) !== 0) {
      return [
        warn("home", `other users can enter ${home} (mode ${mode(facts.mode)})`, advice(`run chmod 700 ${home}`)),
      ];
    }
    return [ok("home", home)];
  },
  /** Checks that only the user can read the tokens. On Windows the permissions of the profile protect them. */
  async tokens({ home, io }) {
    if (io.platform === "win32") return [];
    const found = await Promise.all(
      [
        { file: tokenFile(home), next: advice(`run chmod 600 ${tokenFile(home)}`) },
        // A new token has a new file, with the right mode.
        { file: httpTokenFile(home), next: { step: "rotateToken" } as const },
      ].map(async ({ file, next }) => {
        // Each is created when it is first needed.
        const facts = await lstat(file).catch(() => undefined);
        if (facts === undefined || (facts.mode & 0o077) === 0) return [];
        return [fail("tokens", `other users can read ${file} (mode ${mode(facts.mode)})`, next)];
      }),
    );
    const problems = found.flat();
    return problems.length > 0 ? problems : [ok("tokens", "only you can read them")];
  },
  /** Checks `config.yaml` and the `OLLM_*` variables. */
  async settings({ home, io, daemon }) {
    try {
      const { warnings } = await loadSettings({ home, environment: io.environment, flags: {} });
      const found = warnings.map((message) => warn("settings", message, advice("correct the name or remove it")));
      // The daemon may have other variables than this process.
      const problem = daemon.status?.settingsProblem;
      if (problem !== undefined) found.push(warn("settings", `the daemon: ${problem}`, correct));
      return found.length > 0 ? found : [ok("settings", "config.yaml and OLLM_* variables are valid")];
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      const isHeld = daemon.status?.settingsProblem !== undefined;
      const message = isHeld ? `${error.message}; the daemon keeps the previous settings` : error.message;
      return [fail("settings", message, stepsFor(error, correct))];
    }
  },
  /** Checks the free space on the disk of the model store. */
  async disk({ home, settings, freeBytes }) {
    const folder = path.resolve(settings.store.path ?? path.join(home, "models"));
    const free = await freeBytes(nearestFolder(folder));
    const text = `${formatBytes(free)} free for models in ${folder}`;
    const next: NextSteps = [
      { step: "deleteModel" },
      { step: "changeSetting", setting: "store.path", to: "FOLDER" },
      advice("free some disk space"),
    ];
    if (free < noDiskBytes) return [fail("disk", text, next)];
    return [free < littleDiskBytes ? warn("disk", text, next) : ok("disk", text)];
  },
  /** Checks the available memory. Too little is a warning only: the daemon unloads models or reports what would fit. */
  async memory({ memory, settings, daemon }) {
    const { totalBytes, availableBytes, ...pressure } = await memory();
    const text = `${formatBytes(availableBytes)} of ${formatBytes(totalBytes)} available`;
    const { bufferBytes } = settings.memory;
    const loaded = daemon.status?.loaded.map(({ name }) => name) ?? [];
    if (availableBytes < bufferBytes) {
      const reserved = `${formatBytes(bufferBytes)} are always left free (memory.bufferBytes)`;
      return loaded.length > 0
        ? [warn("memory", `${text}; loaded: ${loaded.join(", ")}`, { step: "unloadModel" })]
        : [warn("memory", `${text}; ${reserved}`, advice("close other programs or use smaller models"))];
    }
    const slow = pressureWarnings(pressure);
    if (slow.length > 0) return [warn("memory", [text, ...slow].join("; "), advice("close other programs"))];
    return [ok("memory", text)];
  },
  /** Checks that the socket's path is short enough for this system or that its short replacement can be used. */
  async socket({ home, io, daemon }) {
    if (daemon.status !== undefined) return [ok("socket", daemon.status.socket)];
    try {
      return [ok("socket", `will be ${freshSocketPath(home, io.platform).replace(/[^/\\]+$/, "…")}`)];
    } catch (error) {
      return [fail("socket", messageOf(error), { step: "setHome", to: "a shorter path" })];
    }
  },
  /** Checks the daemon. That none is running is fine: the first client starts it. */
  async daemon({ home, build, daemon }) {
    const { status, claim, problem } = daemon;
    const log = daemonLogFile(home);
    const deaths = claim?.deaths.length ?? 0;
    const died =
      deaths > 0
        ? [
            warn(
              "daemon",
              `${deaths === 1 ? "the previous daemon" : `${deaths} previous daemons`} died within a minute of starting`,
              advice(`look for the reason in ${log}`),
            ),
          ]
        : [];
    if (status !== undefined) {
      const problems = (status.problems ?? []).map((known) =>
        warn("models", known, [{ step: "listDecisions" }, advice("restart an engine that returns no tokens")]),
      );
      const loaded = status.loaded.map(({ name }) => name).join(", ");
      const kind = status.isStandalone ? "standalone" : counted(status.clients.length, "client");
      const text = `${status.version}, pid ${status.pid}, ${kind}${loaded === "" ? "" : `, loaded: ${loaded}`}`;
      if (status.version === build) return [ok("daemon", text), ...problems, ...died];
      return [warn("daemon", `${text}; this program is ${build}`, { step: "restartDaemon" }), ...problems, ...died];
    }
    if (claim === undefined) return [ok("daemon", "not running; the first assistant that connects starts it")];
    return [
      warn(
        "daemon",
        `pid ${claim.pid}, started ${claim.startedAt}, ended unexpectedly: ${problem ?? "no response"}`,
        advice(`look for the reason in ${log}; the next daemon takes over`),
      ),
      ...died,
    ];
  },
} satisfies Readonly<Record<string, Checker>>;

function nearestFolder(folder: string): string {
  const parent = path.dirname(folder);
  return existsSync(folder) || parent === folder ? folder : nearestFolder(parent);
}

function unusable(home: string, problem: string): Check {
  return fail("home", `${home} can't be used: ${problem}`, { step: "setHome", to: "a folder that you may write to" });
}

async function writeProblem(folder: string): Promise<string | undefined> {
  const wanted = constants.R_OK | constants.W_OK | constants.X_OK;
  return access(folder, wanted).then(() => undefined, messageOf);
}

function mode(bits: number): string {
  return (bits & 0o777).toString(8).padStart(3, "0");
}

/** Asks a running daemon for its status. Starts no daemon and never throws. */
export async function viewDaemon(
  home: string,
  build: string,
  workingDirectory: string,
  limits: { readonly timeoutMs: number; readonly welcomeTimeoutMs: number },
): Promise<DoctorWorld["daemon"]> {
  const claim = newestClaim(home);
  if (claim === undefined || claim.ended === true) return {};
  try {
    const { welcome } = await askDaemon(home, { version: build, purpose: "status", workingDirectory }, limits);
    if (!welcome.ok) return { claim, problem: welcome.message };
    return welcome.status === undefined
      ? { claim, problem: "it returned no status" }
      : { claim, status: welcome.status };
  } catch (error) {
    if (error instanceof DaemonUnreachable && error.reason === "absent") return {};
    return { claim, problem: messageOf(error) };
  }
}
