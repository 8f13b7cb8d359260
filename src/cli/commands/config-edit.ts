import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { problemOf, replaceText } from "../../orchestrator/config/change.ts";
import { readConfigText } from "../../orchestrator/config/file.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { fileOf } from "./config.ts";
import type { CommandIo } from "../terminal/io.ts";

/**
 * `ollm config edit`: opens a copy of the file in the editor and replaces the file once the copy is valid. An invalid copy
 * is edited again or kept as a draft. Returns 1 if the file was not replaced because of an error.
 */
export async function configEdit(io: CommandIo): Promise<number> {
  const editor = editorOf(io);
  const file = fileOf(io);
  const before = await readConfigText(file);
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-config-"));
  // Editors choose the language by the name.
  const draft = path.join(folder, "config.yaml");
  let isDraftKept = false;
  try {
    await writeFile(draft, before === "" ? firstText : before, { mode: 0o600 });
    for (;;) {
      await runEditor(editor, draft, io);
      const text = await readFile(draft, "utf8");
      if (text === before || (before === "" && text === firstText)) {
        io.stdout(`${file} is unchanged\n`);
        return 0;
      }
      const problem = await problemOf(draft, text);
      if (problem === undefined) {
        isDraftKept = true;
        const isWritten = await replaceText(file, before, text).catch((error: unknown) => {
          io.stderr(`ollm: your draft is ${draft}\n`);
          throw error;
        });
        if (!isWritten) {
          throw new OrchestratorError(`${file} was changed by another program meanwhile; your draft is ${draft}`, {
            next: advice("compare the two and edit again"),
          });
        }
        isDraftKept = false;
        io.stdout(`${file} was changed\n`);
        return 0;
      }
      io.stderr(`ollm: ${problem.message}\n`);
      const again = io.isTerminal ? await io.ask("Continue editing? [Y/n] ") : "n";
      if (!/^n/i.test(again)) continue;
      isDraftKept = true;
      io.stderr(`  ${file} is unchanged; your draft is ${draft}\n`);
      return 1;
    }
  } finally {
    if (!isDraftKept) await rm(folder, { recursive: true, force: true });
  }
}

const firstText = "# Settings of ollm, such as\n# privacy: local_only\n# ollm config show lists them all.\n";

function editorOf({ environment, platform }: CommandIo): string {
  for (const name of ["VISUAL", "EDITOR"]) {
    const given = environment[name];
    if (given !== undefined && given.trim() !== "") return given;
  }
  return platform === "win32" ? "notepad" : "vi";
}

/**
 * Runs the editor through a shell, as git does: `EDITOR="code --wait"` has arguments. The path of an existing file is
 * quoted, since it may contain spaces. Throws if the editor can't be run or fails.
 */
async function runEditor(editor: string, file: string, io: CommandIo): Promise<void> {
  const isFile = await stat(editor).then(
    (found) => found.isFile(),
    () => false,
  );
  const { command, options } =
    io.platform === "win32"
      ? { command: [`${isFile ? `"${editor}"` : editor} "${file}"`], options: { shell: true } }
      : { command: ["/bin/sh", "-c", `${isFile ? '"$0"' : editor} "$1"`, editor, file], options: {} };
  const [program = "", ...words] = command;
  const code = await new Promise<number | NodeJS.Signals>((resolve, reject) => {
    const child = spawn(program, words, { stdio: "inherit", env: { ...io.environment }, ...options });
    child.once("error", reject);
    child.once("close", (exitCode, signal) => resolve(exitCode ?? signal ?? 1));
  });
  if (code === 0) return;
  throw new InvalidRequest(`the editor ${JSON.stringify(editor)} exited with ${code}; nothing was changed`, {
    next: [advice("set VISUAL or EDITOR to an installed editor"), { step: "changeSetting", setting: "SETTING" }],
  });
}
