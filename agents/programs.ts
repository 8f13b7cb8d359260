import { join } from "node:path";
import type { ProgramName } from "../src/cli/commands/launch-program.ts";

/** A call that the scripted model makes. */
export interface Turn {
  readonly name: string;
  readonly input: object;
}

export interface Agent {
  /** In `node_modules`, for a platform such as `linux-x64`; the first that is there. npm's scripts, which would link them, don't run. */
  readonly files: (platform: string) => readonly string[];
  /** One run without questions. */
  readonly arguments: (prompt: string) => readonly string[];
  readonly variables?: Readonly<Record<string, string>>;
  /** Files in the home that turn telemetry off where no variable does. */
  readonly settings?: Readonly<Record<string, object>>;
  /** Reads both files, edits both, runs the command. */
  readonly turns: (folder: string) => readonly Turn[];
}

/** What each run begins with. */
export const before: Readonly<Record<string, string>> = { "alpha.txt": "one\n", "beta.txt": "two\n" };
/** What it must have when it ends. */
export const after: Readonly<Record<string, string>> = {
  "alpha.txt": "ONE\n",
  "beta.txt": "TWO\n",
  "both.txt": "ONE\nTWO\n",
};
const command = "cat alpha.txt beta.txt > both.txt";
/** The same for a real model. */
export const prompt =
  'Read alpha.txt and beta.txt. In alpha.txt replace "one" by "ONE", in beta.txt "two" by "TWO". ' +
  `Then run this command: ${command}`;

/** The turns of a program whose tools take a path under `key`, and the old and the new text. */
function turnsOf(
  [read, edit, run]: readonly [string, string, string],
  [key, before_, after_]: readonly [string, string, string],
  folder: string,
  more: object = {},
): readonly Turn[] {
  const [alpha, beta] = [join(folder, "alpha.txt"), join(folder, "beta.txt")];
  return [
    { name: read, input: { [key]: alpha } },
    { name: read, input: { [key]: beta } },
    { name: edit, input: { [key]: alpha, [before_]: "one", [after_]: "ONE" } },
    { name: edit, input: { [key]: beta, [before_]: "two", [after_]: "TWO" } },
    { name: run, input: { command, description: "joins both", ...more } },
  ];
}

export const agents: Readonly<Record<ProgramName, Agent>> = {
  claude: {
    files: (platform) => [`@anthropic-ai/claude-code-${platform}/claude`],
    arguments: (text) => ["-p", text, "--allowedTools", "Read,Edit,Write,Bash"],
    turns: (folder) => turnsOf(["Read", "Edit", "Bash"], ["file_path", "old_string", "new_string"], folder),
  },
  codex: {
    files: () => ["@openai/codex/bin/codex.js"],
    // Its sandbox is not for containers.
    arguments: (text) => ["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", text],
    turns: () =>
      [
        "cat alpha.txt beta.txt",
        "sed -i s/one/ONE/ alpha.txt",
        "apply_patch <<'EOF'\n*** Begin Patch\n*** Update File: beta.txt\n@@\n-two\n+TWO\n*** End Patch\nEOF",
        command,
      ].map((cmd) => ({ name: "exec_command", input: { cmd } })),
  },
  opencode: {
    // The other one needs a newer processor.
    files: (platform) => [`opencode-${platform}-baseline/bin/opencode`, `opencode-${platform}/bin/opencode`],
    arguments: (text) => ["run", text],
    turns: (folder) => turnsOf(["read", "edit", "bash"], ["filePath", "oldString", "newString"], folder),
  },
  qwen: {
    files: () => ["@qwen-code/qwen-code/cli-entry.js"],
    arguments: (text) => ["--yolo", text],
    turns: (folder) =>
      turnsOf(["read_file", "edit", "run_shell_command"], ["file_path", "old_string", "new_string"], folder, {
        is_background: false,
      }),
  },
  cline: {
    files: (platform) => [`@cline/cli-${platform}/bin/cline`],
    arguments: (text) => [text],
    variables: { AI_SDK_LOG_WARNINGS: "false" },
    settings: { ".cline/data/settings/global-settings.json": { telemetryOptOut: true, autoUpdateEnabled: false } },
    turns(folder) {
      const [alpha, beta] = [join(folder, "alpha.txt"), join(folder, "beta.txt")];
      return [
        { name: "read_files", input: { files: [{ path: alpha }, { path: beta }] } },
        { name: "editor", input: { path: alpha, old_text: "one", new_text: "ONE" } },
        { name: "editor", input: { path: beta, old_text: "two", new_text: "TWO" } },
        { name: "run_commands", input: { commands: [command] } },
      ];
    },
  },
};
