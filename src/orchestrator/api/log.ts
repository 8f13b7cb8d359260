/** Diagnostics on stderr; stdout belongs to the protocol. Never prompt text, never secrets. */
export interface Log {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
}

const levels = ["debug", "info", "warn", "silent"] as const;
type LogLevel = (typeof levels)[number];

export const isLogLevel = (text: string | undefined): text is LogLevel => levels.some((level) => level === text);

/** A log that calls `write` with each line (without newline) at or above `level`; a function is evaluated for each line. */
export function createLog(level: LogLevel | (() => LogLevel), write: (line: string) => void): Log {
  const logAt = (at: LogLevel) => (message: string) => {
    const least = typeof level === "function" ? level() : level;
    if (levels.indexOf(at) >= levels.indexOf(least)) write(`ollm ${at}: ${message}`);
  };
  return { debug: logAt("debug"), info: logAt("info"), warn: logAt("warn") };
}
