import { rotateHttpToken } from "../../ipc/http-token.ts";
import { httpTokenFile } from "../../ipc/run-folder.ts";
import { jsonText } from "../../orchestrator/text/control-characters.ts";
import { type CommandIo, homeOf } from "./io.ts";

/**
 * `ollm token rotate`: replaces the bearer token of HTTP callers. HTTP listeners use the new one at once and close what the old one had
 * opened. The token itself is not printed: it would stay in terminals and logs.
 */
export async function rotateToken({ json = false }: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  const home = homeOf(io);
  rotateHttpToken(home);
  const file = httpTokenFile(home);
  io.stdout(json ? `${jsonText({ token_file: file })}\n` : `The token was replaced: ${file}\n`);
  return 0;
}
