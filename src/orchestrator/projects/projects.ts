import { mkdir } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest, StoreFailed } from "../api/errors.ts";
import type { Emit } from "../api/events.ts";
import type { HideableTool, Projects } from "../api/facade-templates.ts";
import type { Log } from "../api/log.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext, CallerProject } from "../api/types.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { writeNew } from "../storage/replace-file.ts";
import { realFolder } from "../storage/work-tree.ts";
import { profileNames } from "../config/profiles.ts";
import { didYouMean } from "../util/nearest.ts";
import { type Timers, systemTimers } from "../util/timers.ts";
import { callerProject, noProfile, questionFor } from "./caller-project.ts";
import { type FolderState, createFolderStates, createProjectWatches } from "./folder-state.ts";
import { type WrittenFile, differsOnlyBy, ollmName, projectFileName } from "./ollm-folder.ts";
import initLines from "./init.json" with { type: "json" };
import { createTrustStore } from "./trust.ts";
import { codeOf, defined, getOrInsert } from "../util/values.ts";
import { isWithin } from "../util/file-name.ts";

interface ProjectParts {
  readonly now: () => number;
  readonly log: Log;
  readonly emit: Emit;
  readonly files?: DocumentFiles;
  /** Names of the built-in and the user's profiles at the moment. */
  readonly profiles: () => readonly string[];
  /** All tools; absent: any name counts. */
  readonly tools?: readonly HideableTool[];
  /** Timers of the watches; the system's when absent. */
  readonly timers?: Timers;
}

export class CallerProjects implements Projects {
  readonly #parts: ProjectParts;
  readonly #states: ReturnType<typeof createFolderStates>;
  readonly #approvals: ReturnType<typeof createTrustStore>;
  /** A caller's choice, kept until it disconnects. */
  readonly #callers = new Map<string, { readonly folder?: string; readonly profile?: string }>();
  /** One object per state and rules, so that callers can compare by identity. */
  readonly #views = new WeakMap<FolderState, Map<string, CallerProject>>();
  readonly #watches: ReturnType<typeof createProjectWatches>;

  constructor(parts: ProjectParts) {
    this.#parts = parts;
    this.#states = createFolderStates(parts.now, parts.profiles, parts.tools, () => this.#toolsChanged());
    this.#approvals = createTrustStore(parts);
    this.#watches = createProjectWatches({
      timers: parts.timers ?? systemTimers,
      log: parts.log,
      onChange: (folder) => {
        this.#states.forget(folder);
        this.#toolsChanged();
        // The change may have ended or restored the project's approval.
        this.#templatesChanged();
      },
    });
  }

  async detect(_caller: CallerContext, folder: string): Promise<CallerProject> {
    return this.#view(await this.#freshState(folder), true);
  }

  async init(caller: CallerContext, folder: string, profile?: string): ReturnType<Projects["init"]> {
    if (profile !== undefined) this.#checkProfile(caller, profile);
    const state = await this.#freshState(folder);
    const file = path.join(state.folder, ollmName, projectFileName);
    const text = initText(profile ?? state.detected?.kind ?? "general", state.detected);
    await this.writeForUser(state.folder, async () => {
      await createFile(state.folder, file, text);
      return { file, text };
    });
    const written = await this.#states.of(state.folder);
    return { file, project: await this.#view(written, true) };
  }

  async trustQuestion(caller: CallerContext): ReturnType<Projects["trustQuestion"]> {
    const state = await this.#freshState(this.#folderOf(caller));
    const { ollm } = state;
    if (ollm.digest === undefined || state.needed === undefined) return undefined;
    if (await this.#isApproved(state)) return undefined;
    return { message: questionFor(state), files: filesOf(state), digest: ollm.digest };
  }

  async trust(caller: CallerContext, digest: string): ReturnType<Projects["trust"]> {
    const state = await this.#freshState(this.#folderOf(caller));
    if (state.ollm.digest !== digest) {
      throw new InvalidRequest(
        `nothing was approved: the files of ${state.folder} have changed since they were shown`,
        { next: advice("look at them again") },
      );
    }
    await this.#approvals.approve(state.folder, digest);
    this.#toolsChanged();
    this.#templatesChanged();
    return { folder: state.folder, files: filesOf(state) };
  }

  async use(caller: CallerContext, { profile, folder }: Parameters<Projects["use"]>[1]): ReturnType<Projects["use"]> {
    const before = this.#callers.get(caller.id);
    if (before === undefined) {
      throw new InvalidRequest("projects are not available to connections over HTTP", {
        next: advice("use a client that starts the server itself on this machine"),
      });
    }
    if (profile !== undefined) this.#checkProfile(caller, profile, [noProfile]);
    const chosen = folder === undefined ? before.folder : (await this.#freshState(folder)).folder;
    const current = chosen ?? caller.project?.folder;
    if (current === undefined) this.#folderOf(caller);
    this.#callers.set(caller.id, { ...defined({ folder: chosen, profile }) });
    this.#toolsChanged();
    if (folder !== undefined) this.#templatesChanged();
    return current === undefined ? undefined : this.#view(await this.#states.of(current), true, profile);
  }

  async projectAt(callerId: string, folder: string | undefined, detects: boolean): ReturnType<Projects["projectAt"]> {
    if (!this.#callers.has(callerId)) this.#callers.set(callerId, {});
    const { folder: chosen, profile } = this.#callers.get(callerId) ?? {};
    const current = chosen ?? folder;
    if (current === undefined) return undefined;
    this.#watches.watch(current);
    return this.#view(await this.#states.of(current), detects, profile);
  }

  /** Problems of the stored approvals. */
  problems(): readonly string[] {
    return this.#approvals.problems();
  }

  forgetCaller(callerId: string): void {
    this.#callers.delete(callerId);
  }

  close(): Promise<void> {
    this.#watches.close();
    return this.#approvals.close();
  }

  /** An approval that can't be read counts as absent. */
  async #isApproved({ folder, ollm }: FolderState): Promise<boolean> {
    if (ollm.digest === undefined) return false;
    try {
      return await this.#approvals.isApproved(folder, ollm.digest);
    } catch (error) {
      if (!(error instanceof StoreFailed)) throw error;
      this.#parts.log.warn(`projects: ${error.message}`);
      return false;
    }
  }

  /**
   * Runs `write`, which changes one file in `.ollm` of `folder` on the user's behalf. If nothing was waiting for approval
   * before, the new state is approved, unless another file changed meanwhile.
   */
  async writeForUser(folder: string, write: () => Promise<WrittenFile>): Promise<void> {
    const before = await this.#freshState(folder);
    const waited = before.needed !== undefined && !(await this.#isApproved(before));
    const written = await write();
    const after = await this.#freshState(folder);
    const { digest } = after.ollm;
    if (!waited && digest !== undefined && differsOnlyBy(written, before.ollm, after.ollm)) {
      try {
        await this.#approvals.approve(after.folder, digest);
      } catch (error) {
        // The file is written; the user is asked to approve it later.
        if (!(error instanceof StoreFailed)) throw error;
        this.#parts.log.warn(`projects: ${error.message}`);
      }
    }
    this.#toolsChanged();
    this.#templatesChanged();
  }

  async #view(state: FolderState, detects: boolean, used?: string): Promise<CallerProject> {
    const approved = state.needed !== undefined && (await this.#isApproved(state));
    const key = `${approved} ${detects} ${used ?? ""}`;
    const views = getOrInsert(this.#views, state, () => new Map<string, CallerProject>());
    return getOrInsert(views, key, () => callerProject(state, { isApproved: approved, detects, ...defined({ used }) }));
  }

  /** The present state of the folder. */
  async #freshState(folder: string): Promise<FolderState> {
    const real = await realFolder(folder);
    if (real === undefined) {
      throw new InvalidRequest(`${folder} is not a folder`, { next: advice("name the folder of a project") });
    }
    this.#states.forget(real);
    return this.#states.of(real);
  }

  #checkProfile({ settings }: CallerContext, profile: string, also: readonly string[] = []): void {
    const allowed = [...profileNames(settings.profiles), ...also];
    if (allowed.includes(profile)) return;
    const next = didYouMean(profile, allowed, 1, { step: "chooseOneOf", names: allowed });
    throw new InvalidRequest(`there is no profile ${JSON.stringify(profile.slice(0, 100))}`, { next });
  }

  #folderOf(caller: CallerContext): string {
    if (caller.project !== undefined) return caller.project.folder;
    throw new InvalidRequest("this connection has no project", { next: { step: "openProject" } });
  }

  #toolsChanged(): void {
    this.#parts.emit({ kind: "settings changed" });
  }

  #templatesChanged(): void {
    this.#parts.emit({ kind: "templates changed" });
  }
}

function filesOf({ ollm }: FolderState): readonly string[] {
  return [...(ollm.file ? [ollm.file.path] : []), ...ollm.templates.map((template) => template.path)];
}

/** Creates a new file; never overwrites one and never writes through a link out of the project. */
async function createFile(folder: string, file: string, text: string): Promise<void> {
  const own = path.dirname(file);
  try {
    await mkdir(own, { recursive: true });
    const real = await realFolder(own);
    if (real === undefined || !isWithin(folder, real)) {
      throw new InvalidRequest(`nothing was written: ${own} is a link to a folder outside the project`, {
        next: advice("replace the link with a folder"),
      });
    }
    await writeNew(file, text);
  } catch (error) {
    if (error instanceof InvalidRequest) throw error;
    const code = codeOf(error) ?? String(error);
    if (code === "EEXIST") {
      throw new InvalidRequest(`${file} already exists and was not changed`, { next: advice("edit it"), cause: error });
    }
    throw new InvalidRequest(`${file} can't be written (${code})`, {
      next: advice("make the folder writable, or create the file yourself"),
      cause: error,
    });
  }
}

/** The text of a new `.ollm/project.yaml`: sets the detected profile and has all other settings as comments. */
function initText(profile: string, detected: FolderState["detected"]): string {
  const because = detected === undefined ? "" : `  # found: ${detected.evidence.slice(0, 3).join(", ")}`;
  return `${initLines.join("\n")}\n`.replace("{profile}", () => `${profile}${because}`);
}
