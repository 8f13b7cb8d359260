import { rotateHttpToken } from "../../ipc/http-token.ts";
import { httpTokenFile } from "../../ipc/run-folder.ts";
import { jsonText } from "../../orchestrator/util/control-characters.ts";
import { type CommandIo, homeOf } from "../terminal/io.ts";

/**
 * `ollm token rotate`: replaces the token of HTTP clients. Listeners use the new one at once and close the connections of
 * the old one. Prints the file, not the token, which would remain in terminals and logs.
 */
export async function rotateToken({ json = false }: { readonly json?: boolean }, io: CommandIo): Promise<number> {
  const home = homeOf(io);
  rotateHttpToken(home);
  const file = httpTokenFile(home);
  io.stdout(
    json ? `${jsonText({ token_file: file })}\n` : `The token was replaced; the old token stops working: ${file}\n`,
  );
  return 0;
}
