import * as z from "zod";
import { InvalidRequest } from "../errors.ts";
import type { MemoryEntry } from "../facade-recall.ts";
import { advice, type NextStep } from "../next-step.ts";
import { formatBytes } from "../text/format-bytes.ts";
import type { MemoryId } from "./search.ts";

/** Characters of a key. */
export const maxKeyLength = 200;
/** Of a value, in UTF-8: some 16,000 tokens. */
export const maxValueBytes = 64 * 1024;
const maxTags = 20;
const maxTagLength = 50;
/** 100 years: times beyond the year 9999 have no ISO form. */
const maxTtlSeconds = 100 * 366 * 86_400;

/** Line breaks among them. */
const control = /[\p{Cc}\u2028\u2029]/u;

/** An entry as it is written down; the facade's type, checked. */
export const entrySchema = z.object({
  key: z.string(),
  value: z.string(),
  category: z.enum(["fact", "preference", "context"]),
  scope: z.enum(["global", "project"]),
  project: z.string().exactOptional(),
  tags: z.array(z.string()),
  isPinned: z.boolean(),
  source: z.enum(["llm", "user", "system"]),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().exactOptional(),
  accessCount: z.int().min(0),
  previous: z.object({ value: z.string(), updatedAt: z.iso.datetime() }).exactOptional(),
}) satisfies z.ZodType<MemoryEntry>;

/** A key has no line breaks, so the last one parts it from the folder. */
export function idOf(project: string | undefined, key: string): MemoryId {
  return project === undefined ? key : `${project}\n${key}`;
}

/** Whether it is past its time at `nowMs`: nobody sees it any more. */
export function isExpired(entry: MemoryEntry, nowMs: number): boolean {
  return entry.expiresAt !== undefined && Date.parse(entry.expiresAt) <= nowMs;
}

/** The key as it is kept: trimmed, and composed (NFC), so that `é` is one key however it was typed. Throws `InvalidRequest`. */
export function normaliseKey(given: string): string {
  const next = advice(`use a key of 1 to ${maxKeyLength} characters on one line, such as "preferred editor"`);
  // Before anything is done with it: a key of a megabyte costs nothing.
  if (given.length > 4 * maxKeyLength) throw tooLong(given.length, next);
  const key = given.trim().normalize("NFC");
  if (key === "") throw new InvalidRequest("the key is empty", { next });
  if (key.length > maxKeyLength) throw tooLong(key.length, next);
  if (control.test(key)) {
    throw new InvalidRequest("the key contains a line break or another control character", { next });
  }
  return key;
}

function tooLong(length: number, next: NextStep): InvalidRequest {
  return new InvalidRequest(`the key has ${length} characters; at most ${maxKeyLength} are allowed`, { next });
}

/** Throws `InvalidRequest` for a value that is blank or larger than `maxValueBytes`. */
export function checkValue(value: string): string {
  if (value.trim() === "") {
    throw new InvalidRequest("the value is empty", { next: [advice("give a value"), { step: "forgetMemory" }] });
  }
  const bytes = Buffer.byteLength(value);
  if (bytes > maxValueBytes) {
    throw new InvalidRequest(`the value has ${formatBytes(bytes)}; at most ${maxValueBytes / 1024} KiB are allowed`, {
      next: advice("save its essential part, or the path of a file that has all of it"),
    });
  }
  return value;
}

/** Trimmed, composed, each once. Throws `InvalidRequest`. */
export function normaliseTags(given: readonly string[]): readonly string[] {
  const next = advice(
    `give at most ${maxTags} tags of 1 to ${maxTagLength} characters, without commas and line breaks`,
  );
  if (given.length > maxTags) {
    throw new InvalidRequest(`${given.length} tags were given; at most ${maxTags} are allowed`, { next });
  }
  const tags = given.map((each) => each.trim().normalize("NFC"));
  const wrong = tags.find((tag) => tag === "" || tag.length > maxTagLength || tag.includes(",") || control.test(tag));
  if (wrong !== undefined) {
    throw new InvalidRequest(wrong === "" ? "a tag is empty" : "a tag is too long, or contains a comma or line break", {
      next,
    });
  }
  return [...new Set(tags)];
}

/** When an entry of `ttlSeconds` ends, ISO 8601. Throws `InvalidRequest`. */
export function expiryOf(ttlSeconds: number, nowMs: number): string {
  if (!Number.isFinite(ttlSeconds) || ttlSeconds <= 0 || ttlSeconds > maxTtlSeconds) {
    throw new InvalidRequest(`ttl must be between 1 and ${maxTtlSeconds} seconds (100 years), not ${ttlSeconds}`, {
      next: advice("give 0 for an entry that never expires"),
    });
  }
  return new Date(nowMs + ttlSeconds * 1_000).toISOString();
}

/** When an entry ends that is remembered anew and had an end: after the same time again. */
export function expiryAgain({ updatedAt, expiresAt }: MemoryEntry, nowMs: number): string | undefined {
  if (expiresAt === undefined) return undefined;
  return new Date(nowMs + Math.max(0, Date.parse(expiresAt) - Date.parse(updatedAt))).toISOString();
}
