import type { IncomingMessage, ServerResponse } from "node:http";
import { isTooDeep, maxJsonDepth } from "../../orchestrator/util/parse-json.ts";

/** The same limit as for a line over stdio. */
export const maxBodyBytes = 4 * 1024 * 1024;

export type ReadBody =
  | { readonly kind: "json"; readonly value: unknown }
  | { readonly kind: "failed"; readonly status: number; readonly code: number; readonly message: string }
  /** The client went away. */
  | { readonly kind: "gone" };

/** Reads a request's JSON body, holding at most `maxBytes`. The server's `requestTimeout` bounds the time. */
export async function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  maxBytes: number = maxBodyBytes,
): Promise<ReadBody> {
  const tooLarge: ReadBody = {
    kind: "failed",
    status: 413,
    code: -32_600,
    message: `the body exceeds the limit of ${maxBytes / 1024 / 1024} MiB; name files instead`,
  };
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) return tooLarge;
  // Sent only after head and size have passed the checks.
  if (request.headers.expect !== undefined) response.writeContinue();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const isWhole = await new Promise<boolean | undefined>((resolve) => {
    const take = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      // The rest is drained with the answer: left unread, it would cut the answer off.
      request.off("data", take);
      request.pause();
      resolve(false);
    };
    request.on("data", take);
    request.once("end", () => resolve(true));
    request.once("error", () => resolve(undefined));
    request.once("close", () => resolve(undefined));
  });
  if (isWhole === undefined) return { kind: "gone" };
  if (!isWhole) return tooLarge;
  const text = Buffer.concat(chunks).toString("utf8");
  if (isTooDeep(text)) {
    return { kind: "failed", status: 400, code: -32_600, message: `the body nests deeper than ${maxJsonDepth} levels` };
  }
  try {
    return { kind: "json", value: JSON.parse(text) };
  } catch {
    return { kind: "failed", status: 400, code: -32_700, message: "the body is not JSON" };
  }
}
