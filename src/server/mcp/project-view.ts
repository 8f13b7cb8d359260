import { profileNames } from "../../orchestrator/config/profiles.ts";
import { type StoredProject, readStoredProject } from "../../orchestrator/projects/trust.ts";
import { createDocumentFiles } from "../../orchestrator/storage/document-files.ts";
import { tools } from "../../tools/index.ts";
import { findProjectFolder } from "../files/allowed-paths.ts";

/** The folders that decide which project a command works in. */
export interface ProjectLocation {
  /** `OLLM_HOME` */
  readonly home: string;
  readonly workingDirectory: string;
  readonly userHome: string;
  /** `projects.detect` */
  readonly detects: boolean;
  /** `profiles` of the settings. */
  readonly profiles: Readonly<Record<string, unknown>>;
}

/** The project of a working directory as a server started there would see it; undefined without one. */
export async function readProjectView(location: ProjectLocation): Promise<StoredProject | undefined> {
  const { home, workingDirectory, userHome, detects, profiles } = location;
  const folder = await findProjectFolder({ workingDirectory, homeDirectory: userHome }, home, () =>
    Promise.resolve([]),
  );
  if (folder === undefined) return undefined;
  return readStoredProject(folder, {
    profiles: profileNames(profiles),
    tools,
    detects,
    files: createDocumentFiles(home),
  });
}
