import { chmod, chown, mkdir, readFile, readdir, rm, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Cancelled } from "../../../src/orchestrator/api/errors.ts";
import type { AllowedRoots } from "../../../src/server/files/allowed-paths.ts";
import type { createFiles } from "../../../src/server/files/files.ts";
import { type GitRepository, type GitTest, gitTest } from "../../support/git-repository.ts";

type FileAccess = Parameters<typeof createFiles>[0];

let test: GitTest;
let repo: GitRepository;

beforeEach(async () => {
  test = await gitTest();
  repo = await test.repository();
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await test.remove();
});

async function read(source: string, roots: AllowedRoots = { folders: [repo.folder] }): Promise<string> {
  return (await test.read(roots, [source])).join("");
}

function refusal(source: string, roots?: AllowedRoots, access?: Partial<FileAccess>): Promise<string> {
  return test.refusal(roots ?? { folders: [repo.folder] }, source, access);
}

function gitAccess(git: Partial<FileAccess["git"]>): Partial<FileAccess> {
  const home = path.join(test.base, "home");
  return {
    git: { environment: process.env, homeDirectory: home, signal: new AbortController().signal, ...git },
  };
}

describe("what is read", () => {
  it("is what git says of the index, the work tree, a commit and the history", async () => {
    await repo.fill();
    const staged = await read("git:staged");
    expect(staged).toContain("+++ b/src/a.ts");
    expect(staged).toContain("+staged");
    expect(staged).not.toContain("unstaged");
    const changed = await read("git:diff");
    expect(changed).toContain("-two\n+unstaged\n");
    expect(changed).not.toContain("a.ts");
    const since = await read("git:diff:v1~1");
    expect(since).toContain("+more\n+staged\n");
    expect(since).toContain("+unstaged\n");
    expect(await read("git:diff:HEAD~1...")).toMatch(/^diff --git a\/src\/a\.ts[^]* one\n\+more\n$/);
    expect(await read("git:diff:main..HEAD~1")).toContain("-more\n");
    expect((await read("git:log:5")).replaceAll(/\b[0-9a-f]{7}\b/g, "HASH")).toMatchInlineSnapshot(`
      "commit HASH 2026-01-02 Ann (tag: v1)

      second: more

      Because it was asked for.

      commit HASH 2026-01-02 Ann

      first

      "
    `);
    expect(await read("git:log:1")).not.toContain("first");
    const shown = await read("git:show:v1");
    expect(shown).toContain("second: more");
    expect(shown).toContain("+more\n");
  });

  it("is the first commit's whole content, before and after it is made", async () => {
    await repo.write({ "a.txt": "new\n" });
    repo.git("add", ".");
    expect(await read("git:staged")).toContain("new file mode");
    repo.commit("first");
    expect(await read("git:show:HEAD")).toContain("+new\n");
  });

  it("is labelled with the source, and with the work tree where there are several roots", async () => {
    await repo.fill();
    const other = await test.repository("other");
    await other.write({ "x.txt": "x\n" });
    other.git("add", ".");
    const roots = { folders: [repo.folder, other.folder] };
    const { createFiles } = await import("../../../src/server/files/files.ts");
    const files = createFiles({
      roots: async () => roots,
      limits: { maxFileBytes: 10_000, maxTotalBytes: 10_000 },
      configFile: "/x/config.yaml",
      git: { environment: process.env, homeDirectory: test.base, signal: new AbortController().signal },
    });
    const names = [`${other.folder}/git:staged`, "./git:log:1"];
    const labels = (await files.readText(names)).map((file) => file.path);
    expect(labels).toEqual(["other/git:staged", "repo/git:log:1"]);
  });

  it("follows renames, says that binary files differ, and keeps names and texts of other encodings", async () => {
    const lines = Array.from({ length: 20 }, (_, line) => `line ${line}\n`).join("");
    await repo.write({ "old.txt": lines, "picture.png": Buffer.from([0x89, 0x50, 0, 1]), "latin.txt": "x\n" });
    repo.commit("first");
    repo.git("mv", "old.txt", "größe.txt");
    await repo.write({
      "picture.png": Buffer.from([0x89, 0x50, 0, 2]),
      "latin.txt": Buffer.from("caf\xe9\n", "latin1"),
    });
    await repo.write({ "utf8.txt": "Zürich\n" });
    repo.git("add", ".");
    const staged = await read("git:staged");
    expect(staged).toContain("rename from old.txt\nrename to größe.txt\n");
    expect(staged).toContain("Binary files a/picture.png and b/picture.png differ");
    expect(staged).toContain("+café\n");
    expect(staged).toContain("+Zürich\n");
  });

  it.skipIf(process.platform !== "linux")("shows paths that are not UTF-8", async () => {
    await repo.write({ "a.txt": "x\n" });
    await writeFile(Buffer.concat([Buffer.from(`${repo.folder}/`), Buffer.from("caf\xe9.txt", "latin1")]), "y\n");
    repo.git("add", ".");
    expect(await read("git:staged")).toContain("+++ b/café.txt\n");
  });

  it("of a merge is what it brought into its first parent", async () => {
    await repo.fill();
    repo.commit("third");
    repo.git("checkout", "--quiet", "-b", "side", "HEAD~1");
    await repo.write({ "side.txt": "side\n" });
    repo.commit("side");
    repo.git("checkout", "--quiet", "main");
    repo.git("merge", "--quiet", "--no-ff", "-m", "merged", "side");
    const shown = await read("git:show:HEAD");
    expect(shown).toContain("merged");
    expect(shown).toContain("+side\n");
    expect(shown).not.toContain("staged");
  });

  it.each(["--object-format=sha256", "--bare"])("works in a repository made with %s", async (option) => {
    await repo.fill();
    const other = await test.repository("other", [option]);
    if (option === "--bare") {
      repo.git("push", "--quiet", other.folder, "main");
      const roots = { folders: [other.folder] };
      expect(await read("git:log:1", roots)).toContain("second: more");
      expect(await read("git:show:main", roots)).toContain("+more");
      expect(await refusal("git:staged", roots)).toMatchInlineSnapshot(`
        "git:staged: the repository is bare: it has no files to compare
        Use git:log:N or git:show:REF."
      `);
      return;
    }
    await other.write({ "x.txt": "x\n" });
    other.commit("made with sha256");
    expect(await read("git:show:HEAD", { folders: [other.folder] })).toContain("made with sha256");
  });

  it("works in shallow clones, with packed references, a split index and a detached HEAD", async () => {
    await repo.fill();
    repo.commit("third");
    repo.git("pack-refs", "--all");
    expect(await read("git:log:9")).toContain("third");
    repo.git("clone", "--quiet", "--depth=2", `file://${repo.folder}`, path.join(test.base, "shallow"));
    const shallow = await test.repository("shallow");
    const roots = { folders: [shallow.folder] };
    expect((await read("git:log:9", roots)).match(/^commit/gm)).toHaveLength(2);
    shallow.git("checkout", "--quiet", "--detach", "HEAD~1");
    shallow.git("update-index", "--split-index");
    await shallow.write({ "new.txt": "new\n" });
    shallow.git("add", ".");
    expect(await read("git:staged", roots)).toContain("+new\n");
    expect(await read("git:log:9", roots)).not.toContain("third");
  });

  it("works in a sparse work tree with a sparse index", async () => {
    await repo.fill();
    repo.commit("third");
    repo.git("sparse-checkout", "init", "--cone", "--sparse-index");
    repo.git("sparse-checkout", "set", "src");
    await repo.write({ "src/a.ts": "sparse\n" });
    expect(await read("git:diff")).toMatch(/^diff --git a\/src\/a\.ts[^]*\+sparse\n$/);
    repo.git("add", "src");
    expect(await read("git:staged")).toMatch(/^diff --git a\/src\/a\.ts[^]*\+sparse\n$/);
  });

  it("leaves no temporary files, not even of what can't be read", async () => {
    const temporary = path.join(test.base, "temporary");
    await mkdir(temporary);
    vi.stubEnv("TMPDIR", temporary);
    await repo.fill();
    await read("git:staged");
    await refusal("git:show:none");
    await writeFile(path.join(repo.folder, ".git", "index"), "damaged");
    await refusal("git:staged");
    expect(await readdir(temporary)).toEqual([]);
  });

  it("compares line endings as the repository's settings say", async () => {
    repo.git("config", "core.autocrlf", "true");
    await repo.write({ "a.txt": "one\r\ntwo\r\n" });
    repo.commit("first");
    await repo.write({ "a.txt": "one\r\nchanged\r\n" });
    expect(await read("git:diff")).toContain(" one\n-two\n+changed\n");
  });
});

describe("what can't be read", () => {
  it.each([
    ["git:stash", "git:stash is not known"],
    ["git:staged:x", "git:staged:x is not known"],
    ["git:log", "git:log is not known"],
    ["git:log:0", "needs a number of commits from 1 to 200"],
    ["git:log:201", "needs a number of commits from 1 to 200"],
    ["git:log:-5", "needs a number of commits from 1 to 200"],
    ["git:show:", "the REF of git:show: is empty"],
    ["git:show:--output=/tmp/x", "begins with a character that it can't begin with"],
    ["git:diff:main...-x", "begins with a character that it can't begin with"],
    ["git:diff:^main", "begins with a character that it can't begin with"],
    ["git:show:HEAD:src/a.ts", "has a character that it can't have"],
    ["git:show:HEAD^{/x}", "has a character that it can't have"],
    ["git:diff:a b", "has a character that it can't have"],
    ["git:show:a\nb", "has a character that it can't have"],
    [`git:show:${"x".repeat(300)}`, "is longer than 250 characters"],
    ["git:show:mian", "there is no commit mian\nDid you mean main?"],
    ["git:show:HEAD~9", "there is no commit HEAD~9\nName a branch, a tag or a commit of the repository."],
    ["git:show:main..HEAD", "there is no commit main..HEAD"],
  ])("is refused: %j", async (source, message) => {
    await repo.fill();
    const refused = await refusal(source);
    expect(refused).toContain(message);
    expect(refused.split("\n").length).toBeLessThanOrEqual(2);
  });

  it("is nothing: nothing staged, nothing changed, no commits", async () => {
    expect(await refusal("git:log:5")).toBe("git:log:5: the repository has no commits yet\nUse git:staged.");
    expect(await refusal("git:show:HEAD")).toContain("the repository has no commits yet");
    expect(await refusal("git:staged")).toMatchInlineSnapshot(`
      "git:staged: nothing is staged
      Run git add first, or use git:diff for changes that are not staged."
    `);
    await repo.write({ "a.txt": "x\n" });
    repo.commit("first");
    expect(await refusal("git:diff")).toMatchInlineSnapshot(`
      "git:diff: nothing has changed that is not staged
      Use git:staged for staged changes."
    `);
    expect(await refusal("git:diff:HEAD")).toContain("nothing differs");
  });

  it("is larger than the limit, or than what is left of the total", async () => {
    await repo.write({ "a.txt": "long line\n".repeat(20_000) });
    repo.git("add", ".");
    expect(await refusal("git:staged")).toMatchInlineSnapshot(`
      "git:staged is larger than 100.0 kB
      Name files or single commits instead, or raise the setting files.maxFileBytes."
    `);
    const limits = { maxFileBytes: 1_000_000, maxTotalBytes: 300_000 };
    const names = ["git:staged", "git:staged"];
    await expect(test.read({ folders: [repo.folder] }, names, { limits })).rejects.toThrow("together");
  });

  it("is an image's place", async () => {
    const { createFiles } = await import("../../../src/server/files/files.ts");
    const files = createFiles({
      roots: async () => ({ folders: [repo.folder] }),
      limits: { maxFileBytes: 1, maxTotalBytes: 1 },
      configFile: "/x/config.yaml",
      git: { environment: {}, homeDirectory: "/", signal: new AbortController().signal },
    });
    await expect(files.readImages(["git:staged"])).rejects.toThrow("git:staged is text");
  });

  it("has objects that a partial clone has not fetched", async () => {
    await repo.fill();
    repo.git("config", "uploadpack.allowFilter", "true");
    const partial = path.join(test.base, "partial");
    repo.git("clone", "--quiet", "--no-checkout", "--filter=blob:none", `file://${repo.folder}`, partial);
    expect(await refusal("git:show:HEAD", { folders: [partial] })).toMatch(
      /can't be read: unable to read [0-9a-f]{40}\nFetch the missing objects with git first: .* partial clone\.$/,
    );
  });

  it.skipIf(process.getuid?.() !== 0)("belongs to another user", async () => {
    await repo.fill();
    await chown(repo.folder, 12_345, 12_345);
    await chown(path.join(repo.folder, ".git"), 12_345, 12_345);
    expect(await refusal("git:staged")).toMatchInlineSnapshot(`
      "the repository /base/repo belongs to another user
      If you trust it, run: git config --global --add safe.directory "/base/repo"."
    `);
  });

  it("has objects that are not there", async () => {
    await repo.fill();
    const blob = repo.git("rev-parse", "HEAD:src/a.ts").trim();
    await rm(path.join(repo.folder, ".git", "objects", blob.slice(0, 2), blob.slice(2)));
    expect(await refusal("git:show:HEAD")).toMatch(/^git:show:HEAD can't be read: unable to read [0-9a-f]{40}\n/);
  });

  it.skipIf(process.platform === "win32")("has an odd or damaged repository", async () => {
    await repo.fill();
    await writeFile(path.join(repo.folder, ".git", "index"), "damaged");
    expect(await refusal("git:staged")).toContain("git:staged can't be read: ");
    await writeFile(path.join(repo.folder, ".git", "config"), "[core\n");
    expect(await refusal("git:staged")).toContain("can't be read: bad config line 1");
    await rm(path.join(repo.folder, ".git"), { recursive: true });
    await writeFile(path.join(repo.folder, ".git"), "nothing");
    expect(await refusal("git:staged")).toContain("can't be read: invalid gitfile format");
  });
});

describe.skipIf(process.platform === "win32")("git itself", () => {
  async function fakeGit(script: string): Promise<Partial<FileAccess>> {
    const folder = path.join(test.base, "bin");
    await mkdir(folder);
    await writeFile(path.join(folder, "git"), `#!/bin/sh\n${script}\n`);
    await chmod(path.join(folder, "git"), 0o755);
    return gitAccess({ environment: { PATH: [folder, process.env["PATH"]].join(path.delimiter) } });
  }

  it("may be too old", async () => {
    const access = await fakeGit("echo git version 2.25.1");
    expect(await refusal("git:staged", undefined, access)).toBe("git 2.25.1 can't be used\nInstall git 2.30 or newer.");
  });

  it("may hang: it is stopped with the call, or after the time limit", async () => {
    const pidFile = path.join(test.base, "pid");
    const { git } = await fakeGit(
      `test "$1" = version && echo git version 2.40.0 && exit\necho $$ > '${pidFile}.new' && mv '${pidFile}.new' '${pidFile}'\nexec sleep 60`,
    );
    if (git === undefined) throw new Error("no git");
    const controller = new AbortController();
    const reading = test.read({ folders: [repo.folder] }, ["git:staged"], {
      git: { ...git, signal: controller.signal },
    });
    const settled = expect(reading).rejects.toBeInstanceOf(Cancelled);
    const pid = Number(await vi.waitFor(() => readFile(pidFile, "utf8"), { timeout: 20_000 }));
    controller.abort("cancelled");
    await settled;
    await vi.waitFor(() => expect(isRunning(pid)).toBe(false), { timeout: 20_000 });
    const limited = { git: { ...git, timeoutMs: 300 } };
    expect(await refusal("git:staged", undefined, limited)).toContain("git did not finish within 0.3 s");
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("the temporary folder", () => {
  it("that can't be used is an error that names it", async () => {
    await repo.fill();
    const none = path.join(test.base, "none");
    vi.stubEnv("TMPDIR", none);
    vi.stubEnv("TEMP", none);
    expect(await refusal("git:staged")).toMatchInlineSnapshot(`
      "the repository's index and branches can't be copied to /base/none (ENOENT)
      Check that the folder exists and has free space."
    `);
  });

  it("is rid of what killed processes left there, and of nothing else", async () => {
    await repo.fill();
    const temporary = path.join(test.base, "tmp");
    for (const name of ["ollm-git-old", "ollm-git-new", "other"]) {
      await mkdir(path.join(temporary, name), { recursive: true });
      if (name !== "ollm-git-new") await utimes(path.join(temporary, name), 1, 1);
    }
    vi.stubEnv("TMPDIR", temporary);
    vi.stubEnv("TEMP", temporary);
    await read("git:staged");
    expect((await readdir(temporary)).toSorted()).toEqual(["ollm-git-new", "other"]);
  });
});
