import { spawn } from "node:child_process";

/**
 * Starts Node with `words` in a pseudo-terminal; what it prints, on both outputs, is in `stdout`. Needs `script` of
 * util-linux.
 */
export function startInTerminal(
  words: readonly string[],
  terminal: {
    readonly columns: number;
    readonly rows: number;
    readonly environment: NodeJS.ProcessEnv;
    readonly limitMs: number;
  },
) {
  const { columns, rows, environment, limitMs } = terminal;
  const typed = [process.execPath, ...words].map((word) => `'${word}'`).join(" ");
  return spawn("script", ["-qefc", `stty cols ${columns} rows ${rows}; exec ${typed}`, "/dev/null"], {
    env: { ...environment, TERM: "xterm-256color", SHELL: "/bin/sh" },
    stdio: ["pipe", "pipe", "inherit"],
    signal: AbortSignal.timeout(limitMs),
  });
}
