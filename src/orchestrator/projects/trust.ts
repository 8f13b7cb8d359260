import * as z from "zod";
import { openDocument, type JournaledDocument } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Log } from "../api/log.ts";

/** The user's approvals, by folder and content. */
export interface TrustStore {
  isApproved(folder: string, digest: string): Promise<boolean>;
  /** Resolves when it is on disk. Throws `StoreFailed`. */
  approve(folder: string, digest: string): Promise<void>;
  /** Files that were set aside, and why. */
  problems(): readonly string[];
  close(): Promise<void>;
}

/** Kept per folder: each branch has its own content. */
const maxDigests = 20;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const state = z.object({ approved: z.array(z.object({ folder: z.string(), digests: z.array(digest) })) });
const event = z.object({ approve: z.object({ folder: z.string(), digest }) });

type State = z.output<typeof state>;
type Event = z.output<typeof event>;

/** Opened by the first use. Without files, approvals last until the process ends. */
export function createTrustStore(parts: { readonly log: Log; readonly files?: DocumentFiles }): TrustStore {
  let opened: Promise<JournaledDocument<State, Event>> | undefined;
  let problems: readonly string[] = [];

  function open(): Promise<JournaledDocument<State, Event>> {
    opened ??= openDocument<State, Event>({
      ...(parts.files && { files: parts.files }),
      name: "trust",
      schemaVersion: 1,
      empty: () => ({ approved: [] }),
      state,
      event,
      apply,
      log: parts.log,
    });
    opened.then(
      (document) => {
        problems = document.problems;
      },
      // The next use tries again.
      () => {
        opened = undefined;
      },
    );
    return opened;
  }

  return {
    async isApproved(folder, wanted) {
      const { state: now } = await open();
      return now.approved.some((entry) => entry.folder === folder && entry.digests.includes(wanted));
    },
    async approve(folder, wanted) {
      await (await open()).append({ approve: { folder, digest: wanted } });
    },
    problems: () => problems,
    async close() {
      await (await opened?.catch(() => undefined))?.close();
    },
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
