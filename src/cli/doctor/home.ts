import { nextText } from "../terminal-text.ts";
import { constants } from "node:fs";
import { access, lstat, stat } from "node:fs/promises";
import path from "node:path";
import { homeProblem } from "../../ipc/trusted-home.ts";
import { httpTokenFile, tokenFile } from "../../ipc/run-folder.ts";
import { loadSettings } from "../../orchestrator/config/load.ts";
import { OrchestratorError } from "../../orchestrator/errors.ts";
import { type Check, type Checker, fail, ok, warn } from "./check.ts";

/** The home: there, its user's alone, and writable. One that is not there yet is made at the first start. */
export const checkHome: Checker = async ({ home, io }) => {
  const refusal = homeProblem(home, { closes: false, isWhole: true });
  if (refusal !== undefined)
    return [fail("home", refusal.message, nextText(refusal) || "Set OLLM_HOME to another folder.")];
  const facts = await stat(home).catch((error: NodeJS.ErrnoException) => error);
  if (facts instanceof Error) {
    if (facts.code !== "ENOENT") return [unusable(home, facts.message)];
    const parent = await nearestParent(home);
    const problem = await writeProblem(parent);
    return [problem === undefined ? ok("home", `${home}, made at the first start`) : unusable(home, problem)];
  }
  if (!facts.isDirectory()) return [unusable(home, "it is not a folder")];
  const problem = await writeProblem(home);
  if (problem !== undefined) return [unusable(home, problem)];
  if (io.platform !== "win32" && (facts.mode & 0o077) !== 0) {
    return [warn("home", `${home} can be entered by other users (mode ${mode(facts.mode)})`, `chmod 700 ${home}`)];
  }
  return [ok("home", home)];
};

function unusable(home: string, problem: string): Check {
  return fail("home", `${home} can't be used: ${problem}`, "Set OLLM_HOME to a folder that you may write to.");
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

/** Whoever reads a token may use the models. On Windows the profile's own rules protect them. */
export const checkTokens: Checker = async ({ home, io }) => {
  if (io.platform === "win32") return [];
  const found = await Promise.all(
    [
      { file: tokenFile(home), renew: "" },
      { file: httpTokenFile(home), renew: "; ollm token rotate" },
    ].map(async ({ file, renew }) => {
      // Each is made when it is first needed.
      const facts = await lstat(file).catch(() => undefined);
      if (facts === undefined || (facts.mode & 0o077) === 0) return [];
      return [
        fail("tokens", `${file} can be read by other users (mode ${mode(facts.mode)})`, `chmod 600 ${file}${renew}`),
      ];
    }),
  );
  const problems = found.flat();
  return problems.length > 0 ? problems : [ok("tokens", "readable by you alone")];
};

/** Settings from `config.yaml` and `OLLM_*`, as the daemon would read them. */
export const checkSettings: Checker = async ({ home, io, daemon }) => {
  try {
    const { warnings } = await loadSettings({ home, environment: io.environment, flags: {} });
    const told = warnings.map((message) => warn("settings", message, "Correct the name, or unset it."));
    // It reads the file under other variables than ours.
    const problem = daemon.status?.settingsProblem;
    if (problem !== undefined)
      told.push(warn("settings", `the daemon: ${problem}`, "Mend the value where it was set."));
    return told.length > 0 ? told : [ok("settings", "config.yaml and OLLM_* variables are valid")];
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    const hint = nextText(error) || "Mend the value where it was set.";
    const isHeld = daemon.status?.settingsProblem !== undefined;
    const held = isHeld ? `${error.message}; the daemon goes on with the settings before` : error.message;
    return [fail("settings", held, hint)];
  }
};

function mode(bits: number): string {
  return (bits & 0o777).toString(8).padStart(3, "0");
}
