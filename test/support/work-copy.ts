import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { canExecute, usualFolders } from "../../src/orchestrator/util/programs.ts";
import { createWorkspace } from "../../src/server/files/workspace.ts";

/** Whether this machine may have a sandbox for commands: `OLLM_TEST_SANDBOX` names a folder that has bubblewrap. */
export const hasSandbox =
  process.platform === "linux" &&
  [process.env["OLLM_TEST_SANDBOX"] ?? [], ...usualFolders].flat().some((folder) => canExecute(join(folder, "bwrap")));

export async function temporaryFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "ollm-work-")));
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

export async function writeFiles(folder: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
}

export const workId = "delegate-0123abcd";

/** A copy of files in a folder of their own, for a worker whose check is this command. */
export async function copyOf(
  files: Readonly<Record<string, string | Uint8Array>>,
  verify: readonly string[] = ["true"],
  timeout = 20,
) {
  const folder = await temporaryFolder();
  const [home, base] = [join(folder, "home"), join(folder, "tree")];
  await Promise.all([home, base].map((each) => mkdir(each)));
  await writeFiles(base, files);
  const git = { environment: process.env, homeDirectory: folder, signal: new AbortController().signal };
  const verifier = { name: "check", verify, timeout };
  const copy = await createWorkspace({ home, id: workId, base, names: Object.keys(files), git, verifier });
  return { folder, home, base, roots: { folders: [base], closed: home }, copy };
}
