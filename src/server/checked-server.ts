import {
  ProtocolError,
  ProtocolErrorCode,
  Server,
  type Implementation,
  type JSONRPCRequest,
  type Result,
  type ServerContext,
  type ServerOptions,
} from "@modelcontextprotocol/server";
import type { Log } from "../orchestrator/log.ts";

type Handler = (request: JSONRPCRequest, context: ServerContext) => Promise<Result>;

/**
 * The SDK's server, with an error of its own for every failed request. The SDK answers parameters that don't match the
 * protocol's schema with code -32603, internal error, and the schema's issues as JSON; they are invalid parameters
 * (-32602). What a handler of ours throws besides a `ProtocolError` becomes text as in a tool call.
 */
export class CheckedServer extends Server {
  readonly #log: Log;

  constructor(info: Implementation, options: ServerOptions, log: Log) {
    super(info, options);
    this.#log = log;
  }

  /** Called for every handler as it is registered, by the constructor of `Server` too. */
  protected override _wrapHandler(method: string, handler: Handler): Handler {
    const wrapped = super._wrapHandler(method, handler);
    return async (request, context) => {
      try {
        return await wrapped(request, context);
      } catch (error) {
        if (error instanceof ProtocolError) throw error;
        const problems = schemaProblems(error);
        if (problems !== undefined) {
          throw new ProtocolError(ProtocolErrorCode.InvalidParams, `${method}: ${problems}`);
        }
        const { errorText } = await import("./error-text.ts");
        throw new ProtocolError(ProtocolErrorCode.InternalError, errorText(error, method, this.#log));
      }
    };
  }
}

const maxShownProblems = 3;

/** Problems of a message that the SDK made of zod's issues; undefined for any other error. */
function schemaProblems(error: unknown): string | undefined {
  if (!(error instanceof Error) || !error.message.startsWith("[")) return undefined;
  try {
    const issues = JSON.parse(error.message) as readonly {
      readonly path: readonly string[];
      readonly message: string;
    }[];
    return issues
      .slice(0, maxShownProblems)
      .map(({ path, message }) => `${path.join(".")}: ${message.replace("Invalid input: ", "")}`)
      .join("; ");
  } catch {
    return undefined;
  }
}
