import type { Server } from "node:http";
import { InvalidRequest } from "../../orchestrator/errors.ts";

/** Port 0 picks a free one. Throws `InvalidRequest` that says why the address can't be had. */
export async function listen(
  server: Server,
  { bind, port }: { readonly bind: string; readonly port: number },
): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: bind.replace(/^\[|\]$/g, ""), port, exclusive: true }, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    const why: Readonly<Record<string, readonly [string, string]>> = {
      EADDRINUSE: ["is taken by another program", "Choose another with --port; 0 picks a free one."],
      EACCES: ["may not be used by this user", "Choose a port above 1023."],
      EADDRNOTAVAIL: ["is no address of this machine", "Bind to 127.0.0.1, or to an address that the machine has."],
      ENOTFOUND: ["is not known", "Bind to 127.0.0.1, or to an address that the machine has."],
    };
    const [fact, hint] = why[code] ?? [`can't be listened on (${code})`, "Choose another address or port."];
    throw new InvalidRequest(`${bind} port ${port} ${fact}`, { hint, cause: error });
  }
}
