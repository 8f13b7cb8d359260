import type { DocumentFiles } from "../documents/files.ts";
import type { CallerProject, Projects } from "../facade-projects.ts";
import type { Change } from "../facade.ts";
import type { Log } from "../log.ts";

export interface ProjectParts {
  readonly now: () => number;
  readonly log: Log;
  readonly publish: (change: Change) => void;
  readonly files?: DocumentFiles;
}

export interface ProjectsOfCallers extends Projects {
  /**
   * The project of a caller: of its marked working directory, else of the roots that its client offers. `callerId` for
   * what `use` chose. Undefined when none of them is one.
   */
  projectOf(
    callerId: string,
    places: { readonly workingDirectory?: string; readonly roots: readonly string[] },
    detects: boolean,
  ): Promise<CallerProject | undefined>;
  /** What `use` chose for it is forgotten. */
  forgetCaller(callerId: string): void;
  close(): Promise<void>;
}

export function createProjects(parts: ProjectParts): ProjectsOfCallers {
  parts.log.debug("projects: not built yet");
  const unbuilt = () => Promise.reject(new Error("projects: not built yet"));
  return {
    detect: unbuilt,
    init: unbuilt,
    trustQuestion: unbuilt,
    trust: unbuilt,
    use: unbuilt,
    projectOf: () => Promise.resolve(undefined),
    forgetCaller: () => undefined,
    close: () => Promise.resolve(),
  };
}
