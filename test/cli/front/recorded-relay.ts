import { Relay } from "../../../src/cli/front/relay.ts";

/** Effects are recorded in order: `>` to the daemon, `<` to the client, others by name. */
export function createRecorded({ isConnected = true } = {}) {
  const effects: unknown[] = [];
  const relay = new Relay({
    toClient: (text) => void effects.push(["<", JSON.parse(String(text))]),
    toDaemon: (text) => void effects.push([">", parsed(String(text))]),
    connect: (patienceMs) => void effects.push(["connect", patienceMs]),
    holdClient: (isHeld) => void effects.push(["hold", isHeld]),
    drain: (ms) => void effects.push(["drain", ms]),
    end: (isAwaited) => void effects.push(isAwaited ? ["end", "awaited"] : ["end"]),
  });
  if (isConnected) relay.connected();
  return {
    relay,
    client: (value: unknown) => relay.clientLine(line(JSON.stringify(value))),
    daemon: (value: unknown) => relay.daemonLine(line(JSON.stringify(value))),
    /** The effects since the last call. */
    seen: () => effects.splice(0),
  };
}

export const line = (text: string): Buffer => Buffer.from(`${text}\n`);

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
