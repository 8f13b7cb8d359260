import type { Socket } from "node:net";

export interface ReadLineOptions {
  /** A longer line rejects. */
  readonly maxBytes: number;
  readonly timeoutMs: number;
}

/**
 * Returns the socket's next line, without its end. What follows the line is put back and nothing is read ahead, so that
 * the next reader gets it. Rejects when the line doesn't come in time, is too long, or the socket ends first.
 */
export function readLine(socket: Socket, { maxBytes, timeoutMs }: ReadLineOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;

    const finish = (error: Error | undefined, line = ""): void => {
      clearTimeout(timer);
      socket.off("readable", onReadable);
      socket.off("end", onEnd);
      socket.off("close", onEnd);
      socket.off("error", finish);
      if (error === undefined) resolve(line);
      else reject(error);
    };
    const onEnd = (): void => finish(new Error("the connection was closed"));
    const onReadable = (): void => {
      for (;;) {
        const chunk = socket.read() as Buffer | null;
        if (chunk === null) return;
        const end = chunk.indexOf(0x0a);
        parts.push(end === -1 ? chunk : chunk.subarray(0, end));
        bytes += parts.at(-1)?.length ?? 0;
        if (bytes > maxBytes) return finish(new Error(`a line is longer than ${maxBytes} bytes`));
        if (end === -1) continue;
        const rest = chunk.subarray(end + 1);
        if (rest.length > 0) socket.unshift(rest);
        return finish(undefined, Buffer.concat(parts).toString("utf8"));
      }
    };
    const timer = setTimeout(() => finish(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);

    socket.on("end", onEnd);
    socket.on("close", onEnd);
    socket.on("error", finish);
    if (socket.readableEnded || socket.destroyed) return onEnd();
    socket.on("readable", onReadable);
    // Bytes that were put back before are available already.
    onReadable();
  });
}
