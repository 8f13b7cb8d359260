import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { clientTable, type Client, type ClientFacts } from "./table.ts";

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
export function allTargets(
  facts: ClientFacts,
  exists: (path: string) => boolean = existsSync,
): readonly ClientTarget[] {
  return clientTable(facts).flatMap((client) =>
    client.locations.filter(({ file }) => exists(file)).map(({ file }) => ({ client, file, isFound: true })),
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
