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
import type { ServerParts } from "../daemon/server-parts.ts";

type Handler = (request: JSONRPCRequest, context: ServerContext) => Promise<Result>;

/**
 * The SDK's server with readable errors. Parameters that don't match the protocol's schema, which the SDK answers with
 * -32603 (internal error) and the schema's issues as JSON, get -32602 (invalid parameters). Any other error of a handler
 * that is not a `ProtocolError` becomes text as in a tool call.
 */
export class CheckedServer extends Server {
  readonly #parts: ServerParts;

  constructor(info: Implementation, options: ServerOptions, parts: ServerParts) {
    super(info, options);
    this.#parts = parts;
  }

  /** Called for every handler as it is registered, by the constructor of `Server` too. */
  protected override _wrapHandler(method: string, handler: Handler): Handler {
    // What the SDK does for `tools/call` is what it does for prompts, and validates request and result with a schema each:
    // the request was validated as that of every method, and a tool's own result is well formed.
    const wrapped = super._wrapHandler(method === "tools/call" ? "prompts/get" : method, handler);
    return async (request, context) => {
      try {
        return await wrapped(request, context);
      } catch (error) {
        if (error instanceof ProtocolError) throw error;
        const problems = schemaProblems(error);
        if (problems !== undefined) {
          throw new ProtocolError(ProtocolErrorCode.InvalidParams, `${method}: ${problems}`);
        }
        const [{ errorText, protocolData }, { textFor }] = await Promise.all([
          import("./error-text.ts"),
          import("../files/hide-paths.ts"),
        ]);
        const shown = textFor(this.#parts, undefined, request.params);
        const text = shown(errorText(error, method, this.#parts.log));
        throw new ProtocolError(ProtocolErrorCode.InternalError, text, protocolData(error, context, shown));
      }
    };
  }
}

const maxShownProblems = 3;

/** The problems in an SDK error whose message is a list of zod issues; undefined for any other error. */
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
