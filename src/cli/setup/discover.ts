import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { expandHome } from "../../orchestrator/config/home.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { type Client, type ClientFacts, clientTable } from "./table.ts";
import { isTooBroad } from "../../orchestrator/util/file-name.ts";

/** A client's settings file. */
export interface ClientTarget {
  readonly client: Client;
  readonly file: string;
  /** Whether the client seems to be installed. */
  readonly isFound: boolean;
}

/** Collects the facts about this machine that the table of clients needs. */
export function gatherFacts(machine: Pick<ClientFacts, "platform" | "userHome" | "environment">): ClientFacts {
  const { platform, userHome, environment } = machine;
  const lmStudioHome = readLine(path.join(userHome, ".lmstudio-home-pointer"));
  const local = environment["LOCALAPPDATA"] ?? path.join(userHome, "AppData", "Local");
  const claudePackages =
    platform === "win32" ? listFolder(path.join(local, "Packages")).filter((name) => /^Claude_/i.test(name)) : [];
  return {
    platform,
    userHome,
    environment,
    claudePackages,
    ...(lmStudioHome !== undefined && path.isAbsolute(lmStudioHome) && existsSync(lmStudioHome) && { lmStudioHome }),
  };
}

/**
 * The files of the installed clients; with `ids`, those of these clients, installed or not (a client that is not found may
 * be portable or installed later). Throws `InvalidRequest` for an unknown client.
 */
export function findTargets(
  facts: ClientFacts,
  ids: readonly string[],
  exists: (path: string) => boolean = existsSync,
): readonly ClientTarget[] {
  const clients = clientTable(facts);
  const known = clients.map(({ id }) => id);
  for (const client of ids) {
    if (known.includes(client)) continue;
    const [nearest] = nearestNames(client, known, 1);
    throw new InvalidRequest(`unknown client "${client}"`, {
      next: [
        ...(nearest === undefined ? [] : [{ step: "didYouMean", names: [nearest] } as const]),
        { step: "chooseOneOf", names: known },
      ],
    });
  }
  return clients
    .filter(({ id }) => ids.length === 0 || ids.includes(id))
    .flatMap((client) => {
      const found = client.locations
        .filter(({ signs }) => signs.some((sign) => exists(sign)))
        .map(({ file }) => ({ client, file, isFound: true }));
      const [first] = client.locations;
      if (found.length > 0 || first === undefined || ids.length === 0) return found;
      return [{ client, file: first.file, isFound: false }];
    });
}

/** Every existing settings file that may contain an ollm entry. */
export function allTargets(facts: ClientFacts): readonly ClientTarget[] {
  return clientTable(facts).flatMap((client) =>
    client.locations.filter(({ file }) => existsSync(file)).map(({ file }) => ({ client, file, isFound: true })),
  );
}

function readLine(file: string): string | undefined {
  try {
    const line = readFileSync(file, "utf8").split(/\r?\n/)[0]?.trim();
    return line === "" ? undefined : line;
  } catch {
    // LM Studio has never been started.
    return undefined;
  }
}

function listFolder(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // No app packages.
    return [];
  }
}

const existing = advice("name an existing folder");

/**
 * Returns the absolute paths of folders, without duplicates; each text may contain several, separated by commas. Throws
 * `InvalidRequest` for an empty text, a path that is not a folder, and a home folder or drive, since allowing that by
 * mistake would expose every private file in it.
 */
export function checkFolders(
  given: readonly string[],
  machine: { readonly userHome: string; readonly workingDirectory: string },
): readonly string[] {
  if (given.some((text) => text.trim() === "")) {
    throw new InvalidRequest("a folder's name is empty: an unset variable?", { next: existing });
  }
  const names = given
    .flatMap((text) => (isFolder(absolute(text, machine)) ? [text] : text.split(",")))
    .map((text) => text.trim())
    .filter((text) => text !== "");
  const folders = names.map((name) => {
    const folder = absolute(name, machine);
    if (!isFolder(folder)) throw new InvalidRequest(`${name} is not a folder`, { next: existing });
    if (isTooBroad(folder, machine.userHome)) {
      throw new InvalidRequest(`${name} is a whole home folder or drive, which is too much to allow`, {
        next: advice("name a folder inside it, such as ~/Documents"),
      });
    }
    return folder;
  });
  return [...new Set(folders)];
}

function absolute(name: string, machine: { readonly userHome: string; readonly workingDirectory: string }): string {
  return path.resolve(machine.workingDirectory, expandHome(name.trim(), machine.userHome));
}

/** Whether a folder exists; follows links. */
export function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
}
