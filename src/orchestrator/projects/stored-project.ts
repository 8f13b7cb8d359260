import type { DocumentFiles } from "../storage/document-files.ts";
import { StoreFailed } from "../api/errors.ts";
import type { CallerProject, ProjectFile } from "../api/facade-projects.ts";
import { callerProject } from "./caller-project.ts";
import { readFolder } from "./folder-state.ts";
import { waitingParts } from "./question.ts";
import { createTrustStore } from "./trust.ts";

/** A project as stored on disk: the settings of its file, and those in force. */
export interface StoredProject {
  readonly project: CallerProject;
  /** The known settings of the file, approved or not; `CallerProject.settings` has those in force. */
  readonly written: ProjectFile;
  /** `model` → `/project/.ollm/project.yaml:2`, of `written`. */
  readonly sources: Readonly<Record<string, string>>;
}

/** Reads a project without a daemon and writes nothing. An approval that `files` can't read counts as absent. */
export async function readStoredProject(
  folder: string,
  rules: { readonly profiles: readonly string[]; readonly detects: boolean; readonly files: DocumentFiles },
): Promise<StoredProject> {
  const state = await readFolder(folder, rules.profiles);
  const { digest } = state.ollm;
  const isWaiting = digest !== undefined && waitingParts(state.read.settings, state.ollm) !== undefined;
  const isApproved = isWaiting && (await approvedIn(readOnly(rules.files), state.folder, digest));
  return {
    project: callerProject(state, { isApproved, detects: rules.detects }),
    written: state.read.settings,
    sources: state.read.sources,
  };
}

async function approvedIn(files: DocumentFiles, folder: string, digest: string): Promise<boolean> {
  const quiet = { debug: nothing, info: nothing, warn: nothing };
  try {
    return await createTrustStore({ log: quiet, files }).isApproved(folder, digest);
  } catch (error) {
    if (error instanceof StoreFailed) return false;
    throw error;
  }
}

/** Leaves repairs to the daemon, which may be writing at this moment. */
function readOnly(files: DocumentFiles): DocumentFiles {
  const refuse = (): Promise<never> => Promise.reject(new Error("only the daemon writes"));
  return { ...files, replace: refuse, append: refuse, remove: refuse, setAside: refuse };
}

function nothing(): void {
  // The daemon logs such problems.
}
