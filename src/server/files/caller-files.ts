import type { ToolFiles } from "../../tools/definition.ts";
import type { RequestFacts } from "../mcp/call-facts.ts";
import { createFiles } from "./files.ts";
import { rootsOf, type OpenHome, type ServerParts } from "../daemon/server-parts.ts";
import { allowedRoots, foldersOfUris } from "./roots.ts";

/**
 * The files that a request may name: those inside its caller's roots, which are determined with the first name. `signal`
 * ends git.
 */
export function filesOfCaller(
  { clientRoots, signal }: Pick<RequestFacts, "clientRoots" | "signal">,
  parts: ServerParts,
  home: OpenHome,
): ToolFiles {
  return createFiles({
    roots: async () => {
      const offered = parts.caller.mayOfferRoots ? foldersOfUris(await rootsOf(parts, clientRoots)) : [];
      return allowedRoots(parts.caller, home.fileRoots, offered, parts.log);
    },
    limits: home.orchestrator.fileLimits,
    configFile: home.configFile,
    ...(parts.caller.workingDirectory !== undefined && { startedIn: parts.caller.workingDirectory }),
    git: { environment: process.env, homeDirectory: parts.caller.homeDirectory, signal },
    isConfined: !parts.caller.mayOfferRoots,
  });
}
