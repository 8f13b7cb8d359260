/** Diagnostics on stderr; stdout belongs to the protocol. Never prompt text, never secrets. */
export interface Log {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
}

type LogLevel = "debug" | "info" | "warn" | "silent";

export const isLogLevel = (text: string | undefined): text is LogLevel =>
  text === "debug" || text === "info" || text === "warn" || text === "silent";

/** A log that calls `write` with each line (without newline) at or above `level`; a function is evaluated for each line. */
export function createLog(level: LogLevel | (() => LogLevel), write: (line: string) => void): Log {
  const order: readonly LogLevel[] = ["debug", "info", "warn", "silent"];
  const logAt = (at: LogLevel) => (message: string) => {
    const least = typeof level === "function" ? level() : level;
    if (order.indexOf(at) >= order.indexOf(least)) write(`ollm ${at}: ${message}`);
  };
  return { debug: logAt("debug"), info: logAt("info"), warn: logAt("warn") };
}
