import type { IncomingMessage, ServerResponse } from "node:http";
import { isTooDeep, maxJsonDepth } from "../../orchestrator/text/parse-json.ts";

/** As much as a line over stdio may have. */
export const maxBodyBytes = 4 * 1024 * 1024;

export type ReadBody =
  | { readonly kind: "json"; readonly value: unknown }
  | { readonly kind: "failed"; readonly status: number; readonly code: number; readonly message: string }
  /** The client went away. */
  | { readonly kind: "gone" };

/** Reads a request's JSON body, never holding more than the limit. Time is bounded by the server's `requestTimeout`. */
export async function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  maxBytes: number = maxBodyBytes,
): Promise<ReadBody> {
  const tooLarge: ReadBody = {
    kind: "failed",
    status: 413,
    code: -32_600,
    message: `the body is over the limit of ${maxBytes / 1024 / 1024} MiB; name files instead`,
  };
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) return tooLarge;
  // Sent only now, when head and size are approved.
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
      // What still comes is for whoever answers: a second pause would leave it with the client, and cut the answer.
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
