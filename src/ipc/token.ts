import { renameSync, writeFileSync } from "node:fs";
import { createExclusively, errorCode } from "./exclusive-file.ts";
import { readOwnFile } from "./own-file.ts";
import { randomHex } from "./random.ts";
import { ensureRunFolder, tokenFile } from "./run-folder.ts";

/** The home's token; undefined when there is none, when it can't be read, or when the file contains no valid token. */
export function readToken(home: string): string | undefined {
  try {
    const text = readOwnFile(tokenFile(home)).trim();
    return /^[0-9a-f]{64}$/.test(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

/** The home's token, created when there is none. Throws the system's error when it can't be read or created. */
export function ensureToken(home: string): string {
  const found = readToken(home);
  if (found !== undefined) return found;
  ensureRunFolder(home);
  const file = tokenFile(home);
  const token = randomHex(32);
  if (createExclusively(file, `${token}\n`)) return token;
  // Another process was faster, or the file has no valid token: it is empty after a crash, for example.
  const made = readToken(home);
  if (made !== undefined) return made;
  readOwnFile(file);
  const temporary = `${file}.${randomHex(6)}.new`;
  writeFileSync(temporary, `${token}\n`, { mode: 0o600, flag: "wx" });
  renameSync(temporary, file);
  const final = readToken(home);
  if (final === undefined) throw Object.assign(new Error(`${file} can't be read`), { code: errorCode(undefined) });
  return final;
}
