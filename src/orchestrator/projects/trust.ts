import * as z from "zod";
import { StoreFailed, undefinedIf } from "../api/errors.ts";
import type { HideableTool } from "../api/facade-templates.ts";
import type { Log } from "../api/log.ts";
import { type DocumentFiles, readOnlyFiles } from "../storage/document-files.ts";
import { openDocument, openedOnce } from "../storage/document.ts";
import { callerProject } from "./caller-project.ts";
import { readFolder } from "./folder-state.ts";

/** Kept per folder: each branch has its own content. */
const maxDigests = 20;

const digestSchema = z.string().regex(/^[0-9a-f]{64}$/);
const stateSchema = z.object({ approved: z.array(z.object({ folder: z.string(), digests: z.array(digestSchema) })) });
const eventSchema = z.object({ approve: z.object({ folder: z.string(), digest: digestSchema }) });

type State = z.output<typeof stateSchema>;
type Event = z.output<typeof eventSchema>;

/** The user's approvals, by folder and content. Opened by the first use. Without files, approvals last until the process ends. */
export function createTrustStore(parts: { readonly log: Log; readonly files?: DocumentFiles }) {
  const document = openedOnce(() =>
    openDocument<State, Event>({
      ...(parts.files && { files: parts.files }),
      name: "trust",
      schemaVersion: 1,
      empty: () => ({ approved: [] }),
      state: stateSchema,
      event: eventSchema,
      apply,
      log: parts.log,
    }),
  );
  return {
    async isApproved(folder: string, wanted: string): Promise<boolean> {
      const { state: now } = await document.get();
      return now.approved.some((entry) => entry.folder === folder && entry.digests.includes(wanted));
    },
    /** Resolves when it is on disk. Throws `StoreFailed`. */
    async approve(folder: string, wanted: string) {
      await (await document.get()).append({ approve: { folder, digest: wanted } });
    },
    problems: document.problems,
    close: document.close,
  };
}

function apply(now: State, { approve }: Event): void {
  const known = now.approved.find(({ folder }) => folder === approve.folder);
  if (known === undefined) {
    now.approved.push({ folder: approve.folder, digests: [approve.digest] });
    return;
  }
  known.digests = [approve.digest, ...known.digests.filter((each) => each !== approve.digest)].slice(0, maxDigests);
}

/** A project as stored on disk: the settings of its file, and those in force. */
export type StoredProject = Awaited<ReturnType<typeof readStoredProject>>;

/** Reads a project without a daemon and writes nothing. An approval that `files` can't read counts as absent. */
export async function readStoredProject(
  folder: string,
  rules: {
    readonly profiles: readonly string[];
    readonly tools?: readonly HideableTool[];
    readonly detects: boolean;
    readonly files: DocumentFiles;
  },
) {
  const state = await readFolder(folder, rules.profiles, rules.tools);
  const { digest } = state.ollm;
  const isWaiting = digest !== undefined && state.needed !== undefined;
  const isApproved = isWaiting && (await approvedIn(rules.files, state.folder, digest));
  return {
    project: callerProject(state, { isApproved, detects: rules.detects }),
    /** The known settings of the file, approved or not; `CallerProject.settings` has those in force. */
    written: state.read.settings,
    /** `model` → `/project/.ollm/project.yaml:2`, of `written`. */
    sources: state.read.sources,
  };
}

async function approvedIn(files: DocumentFiles, folder: string, digest: string): Promise<boolean> {
  const quiet = { debug: nothing, info: nothing, warn: nothing };
  // Repairs are the daemon's, which may be writing at this moment.
  const store = createTrustStore({ log: quiet, files: readOnlyFiles(files, "only the daemon writes") });
  return (await store.isApproved(folder, digest).catch(undefinedIf(StoreFailed))) ?? false;
}

function nothing(): void {
  // The daemon logs such problems.
}
