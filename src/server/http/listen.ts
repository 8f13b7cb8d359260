import { lookup as systemLookup } from "node:dns/promises";
import type { Server } from "node:http";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice, type NextStep, type NextSteps } from "../../orchestrator/api/next-step.ts";
import { isLoopback } from "./policy.ts";

export interface ListenOptions {
  /** A name is resolved once, and the address that was checked is the one listened on. */
  readonly bind: string;
  /** 0 picks a free port. */
  readonly port: number;
  /** Rejects addresses that other machines can reach, including a `localhost` that resolves to one. */
  readonly isLoopbackOnly?: boolean;
  readonly lookup?: (host: string) => Promise<{ readonly address: string }>;
}

const loopback: NextStep = { step: "setArgument", argument: "bind", to: "127.0.0.1" };
const ownAddress: NextSteps = [loopback, advice("use an address of this machine")];

/** Starts listening. Throws `InvalidRequest` with the reason when the address can't be used. */
export async function listen(server: Server, options: ListenOptions): Promise<void> {
  const { bind, port, lookup = systemLookup } = options;
  const name = bind.trim().replace(/^\[|\]$/g, "");
  // The system would listen on every address.
  if (name === "") {
    throw new InvalidRequest("the address to bind to is empty", { next: loopback });
  }
  try {
    const { address } = await lookup(name);
    if (options.isLoopbackOnly === true && !isLoopback(address)) {
      const where = address === name ? bind : `${bind} (${address})`;
      throw new InvalidRequest(`listening on ${where} needs a token: other machines can reach it`, {
        next: [{ step: "omitArgument", argument: "noToken" }, loopback],
      });
    }
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address, port, exclusive: true }, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    if (error instanceof InvalidRequest) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    const why: Readonly<Record<string, readonly [string, NextSteps]>> = {
      EADDRINUSE: ["is already in use", { step: "changeArgument", argument: "port", because: "0 picks a free one" }],
      EACCES: ["may not be used by this user", { step: "raiseArgument", argument: "port", to: 1_024 }],
      EADDRNOTAVAIL: ["is not an address of this machine", ownAddress],
      ENOTFOUND: ["is not known", ownAddress],
      EAI_AGAIN: ["is not known", ownAddress],
    };
    const [fact, next] = why[code] ?? [`can't be listened on (${code})`, advice("choose another address or port")];
    throw new InvalidRequest(`${bind} port ${port} ${fact}`, { next, cause: error });
  }
}
