import type { CommandIo } from "../../src/cli/terminal/io.ts";

/** The streams of a command: output is discarded, and there is no terminal. */
export const silentIo: CommandIo = {
  stdout() {},
  content() {},
  stderr() {},
  environment: {},
  workingDirectory: "/",
  userHome: "/",
  platform: "linux",
  isTerminal: false,
  ask: () => Promise.resolve(""),
  node: "node",
  script: "cli.mjs",
};
