import { createRelay } from "../../../src/cli/front/relay.ts";

/** Effects are recorded in order: `>` to the daemon, `<` to the client, others by name. */
export function createRecorded({ isConnected = true } = {}) {
  const effects: unknown[] = [];
  const relay = createRelay({
    toClient: (text) => void effects.push(["<", JSON.parse(text)]),
    toDaemon: (text) => void effects.push([">", parsed(text)]),
    connect: (patienceMs) => void effects.push(["connect", patienceMs]),
    holdClient: (isHeld) => void effects.push(["hold", isHeld]),
    drain: (ms) => void effects.push(["drain", ms]),
    end: (isAwaited) => void effects.push(isAwaited ? ["end", "awaited"] : ["end"]),
  });
  if (isConnected) relay.connected();
  return {
    relay,
    client: (value: unknown) => relay.clientLine(JSON.stringify(value)),
    daemon: (value: unknown) => relay.daemonLine(JSON.stringify(value)),
    /** The effects since the last call. */
    seen: () => effects.splice(0),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export const request = (id: number | string, method: string, params = {}) => ({ jsonrpc: "2.0", id, method, params });
export const answer = (id: number | string, result = {}) => ({ jsonrpc: "2.0", id, result });
export const notice = (method: string, params = {}) => ({ jsonrpc: "2.0", method, params });
export const failure = (message: string) => ({ message, next: [], texts: { client: message, delegation: message } });
