import type { Adapter } from "lowdb";
import * as z from "zod";
import type { DocumentFiles } from "./document-files.ts";
import { jsonInSlices } from "./json-in-slices.ts";
import { parseJson } from "../util/parse-json.ts";

/** A document as stored on disk. */
export interface Stored {
  readonly schemaVersion: number;
  /** Number of the last event in it. */
  readonly sequence: number;
  readonly state: object;
}

/** The document is invalid; the message describes why. */
export class UnreadableDocument extends Error {}

const storedSchema = z.looseObject({ schemaVersion: z.int().positive(), sequence: z.int().min(0) });

/**
 * The lowdb adapter. lowdb's own adapters neither check what they read nor sync what they write, and its presets store
 * nothing when NODE_ENV is "test". `read` throws `UnreadableDocument`.
 */
export function documentAdapter(
  files: DocumentFiles,
  fileName: string,
  schemaVersion: number,
): Adapter<Stored> & {
  /** Size of the text that was last read or written. */
  readonly sizeChars: () => number;
} {
  let sizeChars = 0;
  return {
    sizeChars: () => sizeChars,
    async read() {
      const text = await files.read(fileName);
      if (text === undefined) return null;
      sizeChars = text.length;
      const stored = storedSchema.safeParse(readJson(text));
      if (!stored.success) throw new UnreadableDocument("its schemaVersion or sequence is missing");
      const { schemaVersion: version, sequence, ...state } = stored.data;
      if (version > schemaVersion) {
        throw new UnreadableDocument(`it has version ${version}; this program reads up to ${schemaVersion}`);
      }
      return { schemaVersion: version, sequence, state };
    },
    async write({ schemaVersion: version, sequence, state }) {
      const text = await jsonInSlices({ schemaVersion: version, sequence, ...state });
      await files.replace(fileName, `${text}\n`);
      sizeChars = text.length;
    },
  };
}

function readJson(text: string): unknown {
  if (text.trim() === "") throw new UnreadableDocument("it is empty");
  try {
    return parseJson(text);
  } catch (error) {
    throw new UnreadableDocument("it is not valid JSON: it is incomplete, or another program wrote it", {
      cause: error,
    });
  }
}
