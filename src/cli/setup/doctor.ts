import { statfs } from "node:fs/promises";
import { homeProblem } from "../../ipc/trusted-home.ts";
import { build } from "../../ipc/version.ts";
import { OrchestratorError, undefinedIf } from "../../orchestrator/api/errors.ts";
import { resolveHome } from "../../orchestrator/config/home.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import { viewProject } from "../../server/daemon/client.ts";
import { checkClients } from "./check-clients.ts";
import { checkEngines, checkModels, expectsOllama, profileModels } from "./check-engines.ts";
import { machineCheckers, viewDaemon } from "./check-machine.ts";
import { type Checker, type DoctorWorld, report, runChecks, usableSettings } from "./check.ts";
import { jsonText } from "../../orchestrator/util/control-characters.ts";
import type { CommandIo } from "../terminal/io.ts";
import { whileWaiting } from "../terminal/progress-line.ts";

/** Time limit of a check; exceeding it is reported as a failure. */
const boundMs = 3_000;

const statusLimits = { timeoutMs: boundMs / 2, welcomeTimeoutMs: boundMs / 2 };

/** In the order in which they are printed: what others depend on comes first. */
const checkers: Readonly<Record<string, Checker>> = {
  ...machineCheckers,
  engines: checkEngines,
  models: checkModels,
  clients: checkClients,
};

/** The checks that read nothing in the home. */
const withoutHome: ReadonlySet<string> = new Set(["node", "home", "disk", "memory", "clients"]);

/** `ollm doctor`: runs all checks; starts and changes nothing. Returns 1 if a check fails. */
export async function doctor(options: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  const home = resolveHome(io.environment, io.userHome, io.workingDirectory);
  const isTrusted = homeProblem(home, { closes: false, isWhole: true }) === undefined;
  const checks = await whileWaiting("checking ...", io, async () => {
    const world = await realWorld(home, isTrusted, io);
    const run = Object.entries(checkers).filter(([name]) => isTrusted || withoutHome.has(name));
    return runChecks(Object.fromEntries(run), world, boundMs);
  });
  const ok = checks.every(({ status }) => status !== "fail");
  io.stdout(options.json === true ? `${jsonText({ ok, checks })}\n` : report(checks, io));
  return ok ? 0 : 1;
}

/** The models that the project's file names; none if the file can't be read, which is reported where it is used. */
async function projectModelsOf(home: string, settings: Settings, io: CommandIo): Promise<DoctorWorld["projectModels"]> {
  const { workingDirectory, userHome } = io;
  const { profiles } = settings;
  const { detect: detects } = settings.projects;
  const view = await viewProject({ home, workingDirectory, userHome, detects, profiles }).catch(
    undefinedIf(OrchestratorError),
  );
  if (view === undefined) return [];
  const { written, sources, project } = view;
  const whereIs = (at: string) => sources[at] ?? project.file ?? project.folder;
  return [
    ...(written.model === undefined ? [] : [{ name: written.model, source: whereIs("model") }]),
    ...profileModels(written.profiles ?? {}).map(({ at, name }) => ({ name, source: `${whereIs(at)}: ${at}` })),
  ];
}

async function realWorld(home: string, isTrusted: boolean, io: CommandIo): Promise<DoctorWorld> {
  const { settings, sources } = await usableSettings(isTrusted ? home : undefined, io);
  const isOllamaExpected = isTrusted && (await expectsOllama(home, { settings, sources }, io));
  const projectModels = isTrusted ? await projectModelsOf(home, settings, io) : undefined;
  return {
    io,
    home,
    build,
    isOllamaExpected,
    ...(projectModels && { projectModels }),
    runtime: { nodeVersion: process.version, isElectron: process.versions["electron"] !== undefined },
    daemon: isTrusted ? await viewDaemon(home, build, io.workingDirectory, statusLimits) : {},
    settings,
    async memory() {
      const { createSystemProbe } = await import("../../orchestrator/memory/measure/system-probe.ts");
      // As if that program hung: graphics cards are neither waited for nor looked for in the background.
      return createSystemProbe({ nvidiaSmi: async () => "" }).sample();
    },
    async freeBytes(folder) {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    },
    async get(url, signal, key) {
      const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
      const response = await fetch(url, { signal, headers, redirect: "manual" });
      return { status: response.status, body: await response.text() };
    },
  };
}
