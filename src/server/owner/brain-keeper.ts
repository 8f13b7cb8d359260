import type { Log } from "../../orchestrator/log.ts";
import type { Brain, BrainOptions } from "../world.ts";

/** The brain of the process, opened when it is first asked for. */
export interface BrainKeeper {
  /** Throws `InvalidConfig`, then tries again at the next call: a setting that was wrong may be mended by then. */
  open(): Promise<Brain>;
  /** Undefined until it is open. */
  current(): Brain | undefined;
  /** Nothing is opened any more. `isLeaving`: models that it loaded leave the engines that live on. */
  close(options: { readonly isLeaving: boolean }): Promise<void>;
}

/** Loads the brain's code with the first `open`. Jobs and pulls of earlier owners are taken up before it is handed out. */
export function createBrainKeeper(options: BrainOptions & { readonly log: Log }): BrainKeeper {
  let opening: Promise<Brain> | undefined;
  let brain: Brain | undefined;

  async function start(): Promise<Brain> {
    const [{ openBrain }, { resumeJobs }] = await Promise.all([import("../world.ts"), import("../resume-jobs.ts")]);
    const opened = await openBrain(options);
    await resumeJobs(opened.orchestrator, opened.log).catch((error: unknown) => {
      options.log.warn(`jobs of earlier owners: ${error instanceof Error ? error.message : String(error)}`);
    });
    brain = opened;
    return opened;
  }

  return {
    async open() {
      opening ??= start();
      try {
        return await opening;
      } catch (error) {
        opening = undefined;
        throw error;
      }
    },
    current: () => brain,
    async close({ isLeaving }) {
      const opened = await opening?.catch(() => undefined);
      await opened?.close({ unloadsOwn: isLeaving });
    },
  };
}
