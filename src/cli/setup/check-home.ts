import { constants } from "node:fs";
import { access, lstat, stat } from "node:fs/promises";
import path from "node:path";
import { homeProblem } from "../../ipc/trusted-home.ts";
import { httpTokenFile, tokenFile } from "../../ipc/run-folder.ts";
import { loadSettings } from "../../orchestrator/config/load.ts";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { type Check, type Checker, fail, ok, stepsFor, warn } from "./check.ts";

const correct = advice("correct the value where it is set");

/** Checks that the home is private and writable. A missing one is fine: the first start creates it. */
export const checkHome: Checker = async ({ home, io }) => {
  const refusal = homeProblem(home, { closes: false, isWhole: true });
  if (refusal !== undefined) return [fail("home", refusal.message, stepsFor(refusal, { step: "setHome" }))];
  const facts = await stat(home).catch((error: NodeJS.ErrnoException) => error);
  if (facts instanceof Error) {
    if (facts.code !== "ENOENT") return [unusable(home, facts.message)];
    const parent = await nearestParent(home);
    const problem = await writeProblem(parent);
    return [problem === undefined ? ok("home", `${home}, created at the first start`) : unusable(home, problem)];
  }
  if (!facts.isDirectory()) return [unusable(home, "it is not a folder")];
  const problem = await writeProblem(home);
  if (problem !== undefined) return [unusable(home, problem)];
  if (io.platform !== "win32" && (facts.mode & 0o077) !== 0) {
    return [warn("home", `other users can enter ${home} (mode ${mode(facts.mode)})`, advice(`run chmod 700 ${home}`))];
  }
  return [ok("home", home)];
};

function unusable(home: string, problem: string): Check {
  return fail("home", `${home} can't be used: ${problem}`, { step: "setHome", to: "a folder that you may write to" });
}

async function writeProblem(folder: string): Promise<string | undefined> {
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function nearestParent(folder: string): Promise<string> {
  const parent = path.dirname(folder);
  if (parent === folder) return folder;
  return (await stat(parent).catch(() => undefined)) === undefined ? nearestParent(parent) : parent;
}

/** Checks that only the user can read the tokens. On Windows the permissions of the profile protect them. */
export const checkTokens: Checker = async ({ home, io }) => {
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
};

/** Checks `config.yaml` and the `OLLM_*` variables. */
export const checkSettings: Checker = async ({ home, io, daemon }) => {
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
};

function mode(bits: number): string {
  return (bits & 0o777).toString(8).padStart(3, "0");
}
