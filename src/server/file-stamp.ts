import { stat } from "node:fs/promises";

/** Changes whenever the file does, also when another takes its place. Never throws. */
export async function fileStamp(file: string): Promise<string> {
  try {
    const { mtimeMs, ctimeMs, size, ino } = await stat(file);
    return `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
  } catch {
    // No file is a state like another; one that can't be read is reported where it is read.
    return "none";
  }
}
