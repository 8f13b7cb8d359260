import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { renderSteps } from "../../src/next-steps/render.ts";
import { toolSteps } from "../../src/next-steps/tools.ts";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import type { AllowedRoots } from "../../src/server/files/allowed-paths.ts";
import { createFiles } from "../../src/server/files/files.ts";

type FileAccess = Parameters<typeof createFiles>[0];

/** A temporary folder with a home and git repositories in it. */
export interface GitTest {
  readonly base: string;
  /** A new repository `base/name`. */
  repository(name?: string, options?: readonly string[]): Promise<GitRepository>;
  /** Reads `names` as a caller with these roots. */
  read(roots: AllowedRoots, names: readonly string[], access?: Partial<FileAccess>): Promise<readonly string[]>;
  /** Message and next steps of the refusal to read `name`, with `/base` for the folder. */
  refusal(roots: AllowedRoots, name: string, access?: Partial<FileAccess>): Promise<string>;
  remove(): Promise<void>;
}

export interface GitRepository {
  readonly folder: string;
  /** Plain git in the repository; its output. */
  git(...args: readonly string[]): string;
  write(files: Readonly<Record<string, string | Uint8Array>>): Promise<void>;
  /** Adds and commits everything. */
  commit(message: string): void;
  /** Two commits, a tag on the second, a staged and an unstaged change. */
  fill(): Promise<void>;
}

/** Variables of plain git that don't depend on the machine. */
export function gitVariables(home: string): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_AUTHOR_NAME: "Ann",
    GIT_AUTHOR_EMAIL: "ann@example.org",
    GIT_AUTHOR_DATE: "2026-01-02T03:04:05Z",
    GIT_COMMITTER_NAME: "Ann",
    GIT_COMMITTER_EMAIL: "ann@example.org",
    GIT_COMMITTER_DATE: "2026-01-02T03:04:05Z",
  };
}

export async function gitTest(): Promise<GitTest> {
  const base = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-git-test-")));
  const home = path.join(base, "home");
  await mkdir(home);
  const inFolder = (folder: string): GitRepository => ({
    folder,
    git: (...args) =>
      execFileSync("git", args, {
        cwd: folder,
        env: gitVariables(home),
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      }),
    async write(files) {
      for (const [name, content] of Object.entries(files)) {
        const file = path.join(folder, name);
        await mkdir(path.dirname(file), { recursive: true });
        await writeFile(file, content);
      }
    },
    commit(message) {
      this.git("add", "--all");
      this.git("commit", "--quiet", "--allow-empty", "-m", message);
    },
    async fill() {
      await this.write({ "src/a.ts": "one\n", "docs/b.md": "two\n" });
      this.commit("first");
      await this.write({ "src/a.ts": "one\nmore\n" });
      this.commit("second: more\n\nBecause it was asked for.");
      this.git("tag", "v1");
      await this.write({ "src/a.ts": "one\nmore\nstaged\n" });
      this.git("add", ".");
      await this.write({ "docs/b.md": "unstaged\n" });
    },
  });
  const read: GitTest["read"] = async (roots, names, access = {}) => {
    const files = createFiles({
      roots: async () => roots,
      limits: { maxFileBytes: 100_000, maxTotalBytes: 250_000 },
      configFile: path.join(base, "home", ".ollm", "config.yaml"),
      git: { environment: process.env, homeDirectory: home, signal: new AbortController().signal },
      ...access,
    });
    return (await files.readText(names)).map(({ text }) => text);
  };
  return {
    base,
    async repository(name = "repo", options = []) {
      const folder = path.join(base, name);
      await mkdir(folder, { recursive: true });
      const made = inFolder(folder);
      made.git("init", "--quiet", "--initial-branch=main", ...options);
      return made;
    },
    read,
    async refusal(roots, name, access) {
      const error = await read(roots, [name], access).then(
        (texts) => new Error(`no refusal: ${texts.join("")}`),
        (reason: unknown) => reason,
      );
      if (!(error instanceof InvalidRequest)) throw error;
      return [error.message, renderSteps(error.next, toolSteps)].join("\n").trimEnd().replaceAll(base, "/base");
    },
    remove: () => rm(base, { recursive: true, force: true }),
  };
}
