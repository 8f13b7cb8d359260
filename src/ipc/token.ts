import { chmodSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { InvalidConfig } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { createExclusively, randomHex, readOwnFile, ensureRunFolder, httpTokenFile, tokenFile } from "./run-folder.ts";
import { codeOf, defined, orUndefined } from "../orchestrator/util/values.ts";

/** The home's token; undefined when there is none, when it can't be read, or when the file contains no valid token. */
export function readToken(home: string): string | undefined {
  return tokenIn(tokenFile(home), /^[0-9a-f]{64}$/);
}

function tokenIn(file: string, valid: RegExp): string | undefined {
  const text = orUndefined(() => readOwnFile(file).trim());
  return text !== undefined && valid.test(text) ? text : undefined;
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
  replace(file, token);
  const final = readToken(home);
  if (final === undefined) throw new Error(`${file} can't be read`);
  return final;
}

const deleteIt = advice("delete it: the next start creates another");

/** The bearer token of HTTP callers, 32 random bytes in base64url; undefined when there is no valid one. */
export function readHttpToken(home: string): string | undefined {
  return tokenIn(httpTokenFile(home), /^[\w-]{32,512}$/);
}

/**
 * The token, created when there is none; `warning` when other users could read it until now. Throws `InvalidConfig`
 * when the file belongs to another user, who would know the token.
 */
export function ensureHttpToken(home: string): { readonly token: string; readonly warning?: string } {
  ensureRunFolder(home);
  const file = httpTokenFile(home);
  const warning = closeToOthers(file);
  const found = readHttpToken(home);
  if (found !== undefined) return { token: found, ...defined({ warning }) };
  // When two processes create it at once one wins; a file without a valid token is replaced.
  if (!createExclusively(file, `${newToken()}\n`) && readHttpToken(home) === undefined)
    return { token: rotateHttpToken(home) };
  const made = readHttpToken(home);
  if (made === undefined) throw new InvalidConfig(`${file} can't be read`, { next: deleteIt });
  return { token: made };
}

/** Replaces the token in one step. HTTP listeners notice and close what was opened with the old one. */
export function rotateHttpToken(home: string): string {
  ensureRunFolder(home);
  const token = newToken();
  replace(httpTokenFile(home), token);
  return token;
}

function replace(file: string, token: string): void {
  const temporary = `${file}.${randomHex(6)}.new`;
  try {
    writeFileSync(temporary, `${token}\n`, { mode: 0o600, flag: "wx" });
    renameSync(temporary, file);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function newToken(): string {
  return Buffer.from(randomHex(32), "hex").toString("base64url");
}

function closeToOthers(file: string): string | undefined {
  // Windows has no such modes: the home is in the user's profile, which others can't read.
  if (process.platform === "win32") return undefined;
  try {
    const { mode, uid } = statSync(file);
    if (uid !== process.getuid?.()) {
      throw new InvalidConfig(`${file} belongs to another user (uid ${uid})`, { next: deleteIt });
    }
    if ((mode & 0o077) === 0) return undefined;
    chmodSync(file, 0o600);
    return `${file} could be read by other users; replace it with \`ollm token rotate\``;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
