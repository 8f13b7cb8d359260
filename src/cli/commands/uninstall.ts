import { rm } from "node:fs/promises";
import path from "node:path";
import { homeProblem } from "../../ipc/trusted-home.ts";
import { resolveHome } from "../../orchestrator/config/home.ts";
import { formatBytes } from "../../orchestrator/text/format-bytes.ts";
import { allTargets, gatherFacts } from "../setup/discover.ts";
import { deleteHome, homeContent, type HomeContent } from "../setup/home-content.ts";
import { programFolder } from "../setup/program-files.ts";
import { applyRemovals, isYes, planRemovals } from "../setup/remove-entries.ts";
import type { CommandIo } from "./io.ts";

/** Of `ollm uninstall`, under the names of its flags. */
export interface UninstallOptions {
  /** Also deletes the home: models, engine, settings. */
  readonly purge?: boolean | undefined;
  /** Asks nothing. */
  readonly yes?: boolean | undefined;
}

/** What tests replace. */
export interface UninstallWorld {
  /** Ends the daemon of the home and waits until it is gone; its exit code. */
  stopDaemon(io: CommandIo): Promise<number>;
}

const realWorld: UninstallWorld = {
  stopDaemon: async (io) => (await import("./daemon.ts")).daemonStop({}, io),
};

/**
 * `ollm uninstall`: takes our entries out of every client, ends the daemon, removes what runs. The home with its models
 * stays unless `purge`, and so does one that other users could have changed. Exit codes as `ollm setup`. Throws
 * `OrchestratorError` for a home that isn't ours to delete, before anything is changed.
 */
export async function uninstall(
  options: UninstallOptions,
  io: CommandIo,
  world: UninstallWorld = realWorld,
): Promise<number> {
  const home = resolveHome(io.environment, io.userHome, io.workingDirectory);
  const content = options.purge === true ? await homeContent(home, io.userHome) : undefined;
  const refusal = homeProblem(home, { closes: false });
  if (refusal !== undefined && options.purge === true) throw refusal;
  const { changes, problems } = await planRemovals(allTargets(gatherFacts(io)), io);
  if (changes.length === 0) io.stdout("No client has an entry of ollm.\n");
  if (content !== undefined) io.stdout(describeHome(home, content));

  if (options.yes !== true) {
    if (!io.isTerminal) {
      io.stderr("Nothing was changed: nobody can answer here. Add --yes to do this.\n");
      return 2;
    }
    if (!isYes(await io.ask(content === undefined ? "Uninstall? [y/N] " : "Uninstall and delete all that? [y/N] "))) {
      io.stdout("Nothing was changed.\n");
      return 0;
    }
  }

  const failures = problems + (await applyRemovals(changes, io));
  if (refusal !== undefined) {
    io.stderr(`ollm: ${home} is left as it is: ${refusal.message}\n`);
    return failures > 0 ? 1 : 0;
  }
  const stopped = await world.stopDaemon(io);
  if (stopped !== 0) {
    io.stderr(`ollm: the program that holds ${home} could not be ended; its files are left\n`);
    return 1;
  }
  if (content !== undefined) {
    const left = await deleteHome(home);
    io.stdout(
      `✓ ${home} deleted${left.length > 0 ? `, but for ${left.join(", ")}: ollm did not put that there` : ""}\n`,
    );
  } else {
    await rm(programFolder(home), { recursive: true, force: true, maxRetries: 3 });
    await rm(path.join(home, "run"), { recursive: true, force: true, maxRetries: 3 });
    io.stdout(`Models and settings stay in ${home}; ollm uninstall --purge deletes them.\n`);
  }
  if (changes.length > 0) io.stdout("Clients that are open keep ollm until they are restarted.\n");
  io.stdout("If ollm was installed with npm: npm uninstall -g ollm-mcp\n");
  return failures > 0 ? 1 : 0;
}

function describeHome(home: string, content: HomeContent): string {
  const total = content.parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const lines = content.parts.map((part) => `  ${formatBytes(part.bytes).padStart(10)}  ${part.path}  ${part.meaning}`);
  return `Will be deleted with ${home}, ${formatBytes(total)} in all:\n${lines.join("\n")}\n`;
}
