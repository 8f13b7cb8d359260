import type { CommandIo } from "../../src/cli/commands/io.ts";

/** What a command is started with where nobody reads what it prints, and no terminal has a width. */
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
