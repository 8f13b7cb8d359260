import type { Adapter } from "lowdb";
import * as z from "zod";
import type { DocumentFiles } from "./files.ts";
import { jsonInSlices } from "./json-in-slices.ts";
import { parseJson } from "../text/parse-json.ts";

/** A document as it lies on disk. */
export interface Stored {
  readonly schemaVersion: number;
  /** Of the last event that is in it. */
  readonly sequence: number;
  readonly state: object;
}

/** A document that does not parse; the message says what is wrong with it. */
export class UnreadableDocument extends Error {}

const storedSchema = z.looseObject({ schemaVersion: z.int().positive(), sequence: z.int().min(0) });

/**
 * lowdb's way to the disk. Its own adapters neither check what they read nor sync what they write, and its presets keep
 * nothing when NODE_ENV is "test". `read` throws `UnreadableDocument`.
 */
export function documentAdapter(
  files: DocumentFiles,
  fileName: string,
  schemaVersion: number,
): Adapter<Stored> & {
  /** Of the text last read or written. */
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
      if (!stored.success) throw new UnreadableDocument("it says neither its version nor what is in it");
      const { schemaVersion: version, sequence, ...state } = stored.data;
      if (version > schemaVersion) {
        throw new UnreadableDocument(`it is of version ${version}, and this program knows ${schemaVersion}`);
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
    throw new UnreadableDocument("it is no JSON: it was cut off, or written by something else", { cause: error });
  }
}
