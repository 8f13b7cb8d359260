import { settingsProblem } from "../config/problem-text.ts";
import type { SystemStatus } from "../api/facade-status.ts";
import type { Jobs } from "../api/facade.ts";
import type { Operations } from "../jobs/operations.ts";
import type { RequestQueues } from "../residency/request-queues.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { CallerContext } from "../api/types.ts";
import type { World } from "../world.ts";
import { engineStatus, ramStatus, type StatusSource } from "./system.ts";

export interface OverviewSource extends StatusSource {
  readonly world: Pick<World, "settings" | "version" | "home">;
  readonly queues: Pick<RequestQueues, "snapshot">;
  readonly operations: Pick<Operations, "running">;
  readonly jobs: Pick<Jobs, "list">;
  /** Number of prompts sent to engines that are not trusted as local, since the start. */
  remoteRequests(): number;
  /** Background problems not yet reported. */
  problems(): readonly string[];
}

/** The state of this process and its problems. */
export async function systemStatus(source: OverviewSource, caller: CallerContext): Promise<SystemStatus> {
  const { world, inventory, queues, operations, jobs } = source;
  const [ram, found] = await Promise.all([
    ramStatus(source),
    Promise.all(inventory.engines.map((engine) => engineStatus(inventory, engine, caller.signal))),
  ]);
  const engines = found.filter((engine) => engine !== undefined);
  const jobIds = new Set(jobs.list(caller).map(({ id }) => id));
  return {
    version: world.version,
    home: world.home,
    privacy: caller.settings.privacy,
    ram,
    engines,
    queue: queues.snapshot().map(({ located, ...counts }) => ({ model: located.model.name, ...counts })),
    operations: operations.running().map((operation) => {
      const message = operation.progress()?.message;
      const isJob = jobIds.has(operation.id);
      return { id: operation.id, title: operation.title, isJob, ...(message === undefined ? {} : { message }) };
    }),
    remoteRequests: source.remoteRequests(),
    warnings: [
      ...settingsWarnings(world),
      ...(ram.warning === undefined ? [] : [ram.warning]),
      ...(caller.warnings ?? []),
      ...source.problems(),
      // The reasons are in `engines`.
      ...(engines.every(({ health }) => health === "unreachable") ? ["no engine responds"] : []),
    ],
  };
}

function settingsWarnings({ settings }: OverviewSource["world"]): readonly string[] {
  const problem = settings.problem();
  const { availableBytes } = settings.current().memory;
  return [
    ...(problem === undefined ? [] : [settingsProblem(problem)]),
    ...(availableBytes === undefined
      ? []
      : [`memory.availableBytes overrides the measured value: ${formatBytes(availableBytes)}`]),
  ];
}
