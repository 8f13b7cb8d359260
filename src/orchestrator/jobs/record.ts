import * as z from "zod";
import { parseJson } from "../text/parse-json.ts";

/** Raised when a field changes its meaning; a file with a higher one is a newer daemon's and is left alone. */
export const schemaVersion = 1;

const kinds = ["pull", "load", "generate", "unload", "delete", "compare"] as const;
const states = ["running", "succeeded", "failed", "cancelled"] as const;

/** One job as it lies on disk: `jobs/<id>.json`. */
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
  /** What a generation had written when it ended without an answer. */
  partial: z.object({ text: z.string(), thinking: z.string() }).optional(),
  note: z.string().optional(),
  /** Of a pull: enough to start it again. */
  pull: z.object({ model: z.string(), from: z.string().optional(), engine: z.string() }).optional(),
  /** A pull whose call still waits for it: no job yet, kept only so that it survives the daemon. */
  isAwaited: z.boolean().optional(),
});

const newerDocument = z.object({ schemaVersion: z.number().gt(schemaVersion) });

export type JobRecord = z.output<typeof jobRecord>;

/** What a file holds: a record, a newer daemon's record (to be left alone), or neither (to be set aside). */
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

/** A result as it is kept: at most `maxBytes` of JSON, its longest texts cut first, and a note that says so. */
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
  return { note: `the result was ${bytes} bytes, more than the ${maxBytes} that are kept of one job` };
}

/** At most `maxBytes` of JSON, never half a character. */
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
  return `the result was ${bytes} bytes and is cut to the ${maxBytes} that are kept of one job`;
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? "");
}
