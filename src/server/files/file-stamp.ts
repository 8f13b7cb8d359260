import { stat } from "node:fs/promises";

/** A string that changes whenever the file changes or is replaced. Never throws. */
export async function fileStamp(file: string): Promise<string> {
  try {
    const { mtimeMs, ctimeMs, size, ino } = await stat(file);
    return `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
  } catch {
    // Missing is a state, too; an unreadable file is reported where it is read.
    return "none";
  }
}
