import * as z from "zod";
import { parseJson } from "../util/parse-json.ts";

/** Raised when a field changes its meaning. A file with a higher version was written by a newer daemon and is ignored. */
export const schemaVersion = 1;

const kinds = ["pull", "load", "generate", "unload", "delete", "compare"] as const;
const states = ["running", "succeeded", "failed", "cancelled"] as const;

/** One job as stored on disk: `jobs/<id>.json`. */
export const jobRecord = z.object({
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
  /** For a pull: the data to restart it. */
  pull: z.object({ model: z.string(), from: z.string().optional(), engine: z.string() }).optional(),
  /** A pull whose call still waits: not a job yet, stored only so that it survives the daemon. */
  isAwaited: z.boolean().optional(),
});

const newerDocument = z.object({ schemaVersion: z.number().gt(schemaVersion) });

export type JobRecord = z.output<typeof jobRecord>;

/** The content of a file: a record, a record of a newer daemon (to ignore), or neither (to set aside). */
export function readRecord(text: string): { readonly record: JobRecord } | "newer" | "broken" {
  let document: unknown;
  try {
    document = parseJson(text);
  } catch {
    return "broken";
  }
  const parsed = jobRecord.safeParse(document);
  if (parsed.success) return { record: parsed.data };
  return newerDocument.safeParse(document).success ? "newer" : "broken";
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
    if (jsonBytes(kept) <= maxBytes) return { result: kept, note: cutNote(bytes, maxBytes) };
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

function cutNote(bytes: number, maxBytes: number): string {
  return `the result of ${bytes} bytes was cut to the limit of ${maxBytes}`;
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? "");
}
