import type { ToolFiles } from "../tools/definition.ts";
import type { RequestFacts } from "./call-facts.ts";
import { createFiles } from "./files.ts";
import { rootsOf, type OpenHome, type ServerHost } from "./host.ts";
import { allowedRoots, foldersOfUris } from "./roots.ts";

/** The files that one request may name: inside its caller's roots, which are asked for when the first is named. */
export function filesOfCaller(
  { clientRoots }: Pick<RequestFacts, "clientRoots">,
  host: ServerHost,
  home: OpenHome,
): ToolFiles {
  return createFiles({
    roots: async () => {
      const offered = host.caller.mayOfferRoots ? foldersOfUris(await rootsOf(host, clientRoots)) : [];
      return allowedRoots(host.caller, home.fileRoots, offered, host.log);
    },
    limits: home.orchestrator.fileLimits,
    configFile: home.configFile,
    ...(host.caller.workingDirectory !== undefined && { startedIn: host.caller.workingDirectory }),
    isConfined: !host.caller.mayOfferRoots,
  });
}
