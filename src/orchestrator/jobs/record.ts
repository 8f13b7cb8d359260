import { readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import * as z from "zod";
import type { Log } from "../api/log.ts";
import type { Job } from "../api/facade.ts";
import type { Operation, Progress } from "../api/types.ts";
import { counted } from "../util/format-bytes.ts";
import { defined, jsonIn, messageOf, undefinedIfMissing } from "../util/values.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { readRegularText } from "../storage/replace-file.ts";

/** Raised when a field changes its meaning. A file with a higher version was written by a newer daemon and is ignored. */
const schemaVersion = 1;

const kinds = ["pull", "load", "generate", "unload", "delete", "compare", "batch", "delegate"] as const;
const states = ["running", "succeeded", "failed", "cancelled"] as const;

/** One job as stored on disk: `jobs/<id>.json`. */
const jobRecord = z.object({
  schemaVersion: z.literal(schemaVersion),
  id: z.string().regex(/^[a-z]+-[0-9a-z]+$/),
  kind: z.enum(kinds),
  title: z.string(),
  tool: z.string(),
  client: z.string(),
  state: z.enum(states),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().optional(),
  result: z.record(z.string(), z.unknown()).optional(),
  error: z.string().optional(),
  /** The text of a generation that ended without an answer. */
  partial: z.object({ text: z.string(), thinking: z.string() }).optional(),
  note: z.string().optional(),
  /** While long files are read: the names of the parts that were read. */
  parts: z.object({ done: z.array(z.string()), total: z.number() }).optional(),
  /** For a pull: the data to restart it. */
  pull: z.object({ model: z.string(), from: z.string().exactOptional(), engine: z.string() }).optional(),
  /** A pull whose call still waits: not a job yet, stored only so that it survives the daemon. */
  isAwaited: z.boolean().optional(),
});

const newerDocument = z.object({ schemaVersion: z.number().gt(schemaVersion) });

export type JobRecord = z.output<typeof jobRecord>;

/** The content of a file: a record, a record of a newer daemon (to ignore), or neither (to set aside). */
export function readRecord(text: string): { readonly record: JobRecord } | "newer" | "broken" {
  const document = jsonIn(text);
  const parsed = jobRecord.safeParse(document);
  if (parsed.success) return { record: parsed.data };
  return newerDocument.safeParse(document).success ? "newer" : "broken";
}

const maxNamedParts = 20;

/** The parts of long files that were read, as a record holds them. */
export function partsIn({ parts }: Partial<Progress> = {}): Pick<JobRecord, "parts"> {
  if (parts === undefined || parts.done.length === 0) return {};
  return { parts: { done: [...parts.done], total: parts.total } };
}

/** `; 3 of 12 parts were read: guide.md: Ports, ...` */
export function partsRead({ parts }: JobRecord): string {
  if (parts === undefined || parts.done.length === 0) return "";
  const more = parts.done.length - maxNamedParts;
  const named = parts.done.slice(0, maxNamedParts).join(", ");
  return `; ${parts.done.length} of ${counted(parts.total, "part")} were read: ${named}${more > 0 ? ` and ${more} more` : ""}`;
}

/** A result as stored: at most `maxBytes` of JSON, its longest texts cut first, with a note. */
export function boundResult(
  result: Readonly<Record<string, unknown>>,
  maxBytes: number,
): Pick<JobRecord, "result" | "note"> {
  const bytes = jsonBytes(result);
  if (bytes <= maxBytes) return { result: { ...result } };
  const kept: Record<string, unknown> = { ...result };
  const texts = Object.entries(result)
    .filter((entry): entry is [string, string] => typeof entry[1] === "string")
    .toSorted(([, a], [, b]) => b.length - a.length);
  for (const [name, text] of texts) {
    const othersBytes = jsonBytes({ ...kept, [name]: "" });
    kept[name] = cutText(text, maxBytes - othersBytes);
    if (jsonBytes(kept) <= maxBytes)
      return { result: kept, note: `the result of ${bytes} bytes was cut to the limit of ${maxBytes}` };
  }
  return { note: `the result of ${bytes} bytes exceeds the limit of ${maxBytes} and was not stored` };
}

/** The longest prefix of at most `maxBytes` of JSON that does not split a character. */
function cutText(text: string, maxBytes: number): string {
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (jsonBytes(text.slice(0, middle)) - 2 <= maxBytes) low = middle;
    else high = middle - 1;
  }
  const isHalf = low > 0 && /[\uD800-\uDBFF]/.test(text.charAt(low - 1));
  return text.slice(0, isHalf ? low - 1 : low);
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? "");
}

/**
 * Ids of the jobs to remove: those that ended more than `keepHours` ago, then, oldest end first, as many as necessary to
 * get below `maxBytes`. Running jobs are never removed and don't count.
 */
export function expiredJobs(
  jobs: readonly {
    readonly id: string;
    /** Milliseconds since the epoch; absent while the job is running. */
    readonly endedAtMs?: number;
    readonly bytes: number;
  }[],
  limits: { readonly nowMs: number; readonly keepHours: number; readonly maxBytes: number },
): readonly string[] {
  const ended = jobs
    .flatMap(({ id, endedAtMs, bytes }) => (endedAtMs === undefined ? [] : [{ id, endedAtMs, bytes }]))
    .toSorted((a, b) => b.endedAtMs - a.endedAtMs);
  let keptBytes = 0;
  return ended
    .filter(({ endedAtMs, bytes }) => {
      if (endedAtMs + limits.keepHours * 3_600_000 <= limits.nowMs) return true;
      keptBytes += bytes;
      return keptBytes > limits.maxBytes;
    })
    .map(({ id }) => id);
}

/** Storage of jobs; injected, so that tests can simulate a full disk. */
export type JobFiles = ReturnType<typeof createJobFiles>;

const fileName = /^([a-z]+-[0-9a-z]+)\.json$/;
/** Temporary files of an interrupted write. */
const leftover = /^\.[a-z]+-[0-9a-z]+\.json\.tmp$/;

/** One JSON file per job in `folder`, which is also the folder of `disk`. */
export function createJobFiles(folder: string, disk: DocumentFiles) {
  const fileOf = (id: string): string => path.join(folder, `${id}.json`);
  const names = async () => (await readdir(folder).catch(undefinedIfMissing)) ?? [];
  return {
    /** Ids of the stored jobs. */
    list: async (): Promise<readonly string[]> => (await names()).flatMap((name) => fileName.exec(name)?.[1] ?? []),
    /** Removes temporary files of a killed daemon. Call it before the first write, whose temporary file it would remove. */
    async removeLeftovers() {
      const all = await names();
      const isLeft = (name: string): boolean => {
        const [, id] = /^([^.]+)\.work\./.exec(name) ?? [];
        return leftover.test(name) || (id !== undefined && !all.includes(`${id}.json`));
      };
      const left = all.filter(isLeft);
      await Promise.all(left.map((name) => rm(path.join(folder, name), { force: true })));
    },
    read: (id: string) => readRegularText(fileOf(id)),
    /** Atomic; the file is on disk when the promise resolves. */
    write: (id: string, text: string) => disk.replace(path.basename(fileOf(id)), text),
    /** With what it left. Does nothing if there is no such file. */
    async remove(id: string) {
      const names_ = [`${id}.json`, `${id}.work.json`, `${id}.work.journal`];
      await Promise.all(names_.map((name) => rm(path.join(folder, name), { force: true })));
    },
    /** The folder, for documents beside the records. */
    disk,
    /** Renames an unreadable file and returns its new name. */
    async setAside(id: string) {
      const broken = `${fileOf(id)}.broken`;
      await rename(fileOf(id), broken);
      return broken;
    },
  };
}

/** The record of a job; undefined, with a line in the log, for a file of a newer version or one that can't be read. */
export async function readKept(files: JobFiles, id: string, log: Log): Promise<JobRecord | undefined> {
  try {
    const read = readRecord(await files.read(id));
    if (typeof read === "object" && read.record.id === id) return read.record;
    if (read === "newer") log.info(`jobs: ${id} was written by a newer version and is ignored`);
    else log.warn(`jobs: ${id} can't be read; its file is now ${await files.setAside(id)}`);
  } catch (error) {
    log.warn(`jobs: can't read ${id}: ${messageOf(error)}`);
  }
  return undefined;
}

/** A job as its caller sees it; `operation` while it runs. */
export function viewOf(record: JobRecord, operation: Operation<unknown> | undefined): Job {
  const { schemaVersion: _version, pull: _pull, isAwaited: _awaited, parts: _parts, ...facts } = record;
  const progress = operation?.progress();
  const written = operation?.partial() ?? facts.partial;
  const { endedAt, error, note, partial: _partial, result, ...rest } = facts;
  return { ...rest, ...defined({ endedAt, error, note, progress, partial: written, result }) };
}

export function recordOf(operation: Operation<unknown>, tool: string, client: string): JobRecord {
  const { id, kind, title, startedAtMs } = operation;
  const startedAt = new Date(startedAtMs).toISOString();
  return { schemaVersion, id, kind, title, tool, client, state: "running", startedAt };
}
