import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { appendFile, chmod, mkdir, rm, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { gitTest, gitVariables, type GitRepository, type GitTest } from "../../support/git-repository.ts";

/** Everything that can be asked of a repository. */
const sources = ["git:staged", "git:diff", "git:diff:HEAD", "git:log:5", "git:show:HEAD"];

let test: GitTest;
let repo: GitRepository;
let marker = "";
let program = "";

beforeEach(async () => {
  test = await gitTest();
  repo = await test.repository();
  marker = path.join(test.base, "marker");
  program = path.join(test.base, "program.sh");
  await writeFile(program, `#!/bin/sh\necho ran >> '${marker}'\n`);
  await chmod(program, 0o755);
  await repo.write({ "a.txt": "one\n", "b.txt": "two\n", "c.bin": "three\n" });
  repo.commit("first");
  await repo.write({ "a.txt": "changed and staged\n" });
  repo.git("add", "a.txt");
  await repo.write({ "b.txt": "changed\n" });
  // As long as what is committed: git has to read it to see that nothing has changed.
  await utimes(path.join(repo.folder, "c.bin"), 1, 1);
});

afterEach(() => test.remove());

interface Attack {
  readonly name: string;
  plant(): Promise<void> | void;
  /** The plain command that falls for it, with additional variables; `git diff` when absent. */
  readonly falls?: { readonly args: readonly string[]; readonly variables?: Readonly<Record<string, string>> };
  /** An object is missing, so some reads fail. */
  readonly isIncomplete?: true;
  /** The plain command needs a terminal. */
  readonly needsTerminal?: true;
}

const config = (key: string, value: string): string => repo.git("config", key, value);

/** A missing object and a remote that promises it: git fetches it when it needs it. */
async function planPromise(url: string): Promise<void> {
  const blob = repo.git("rev-parse", "HEAD:a.txt").trim();
  await rm(path.join(repo.folder, ".git", "objects", blob.slice(0, 2), blob.slice(2)));
  config("core.repositoryFormatVersion", "1");
  config("extensions.partialClone", "origin");
  config("remote.origin.promisor", "true");
  config("remote.origin.url", url);
}

const attacks: readonly Attack[] = [
  { name: "core.fsmonitor", plant: () => void config("core.fsmonitor", program) },
  {
    name: "a clean filter",
    plant: async () => {
      config("filter.evil.clean", program);
      await repo.write({ ".gitattributes": "*.bin filter=evil\n*.txt filter=evil\n" });
    },
  },
  {
    name: "a required process filter in info/attributes",
    plant: async () => {
      config("filter.evil.process", program);
      config("filter.evil.required", "true");
      await repo.write({ ".git/info/attributes": "* filter=evil\n" });
    },
  },
  { name: "diff.external", plant: () => void config("diff.external", program) },
  {
    name: "a diff driver",
    plant: async () => {
      config("diff.evil.command", program);
      await repo.write({ ".gitattributes": "*.txt diff=evil\n" });
    },
  },
  {
    name: "a text conversion",
    plant: async () => {
      config("diff.evil.textconv", program);
      await repo.write({ ".gitattributes": "*.txt diff=evil\n" });
    },
  },
  {
    name: "an included configuration",
    plant: async () => {
      await repo.write({ ".git/other": `[diff]\n\texternal = ${program}\n` });
      config("include.path", "other");
    },
  },
  {
    name: "a configuration of the work tree",
    plant: async () => {
      config("extensions.worktreeConfig", "true");
      await repo.write({ ".git/config.worktree": `[diff]\n\texternal = ${program}\n` });
    },
  },
  {
    name: "a hook that runs when the index is written",
    plant: async () => {
      await mkdir(path.join(repo.folder, ".git", "hooks"), { recursive: true });
      const hook = path.join(repo.folder, ".git", "hooks", "post-index-change");
      await writeFile(hook, readFileSync(program));
      await chmod(hook, 0o755);
    },
  },
  {
    name: "core.hooksPath",
    plant: async () => {
      await writeFile(path.join(test.base, "post-index-change"), readFileSync(program));
      await chmod(path.join(test.base, "post-index-change"), 0o755);
      config("core.hooksPath", test.base);
    },
  },
  {
    name: "a program that verifies signatures",
    plant: () => {
      const signed = repo
        .git("cat-file", "commit", "HEAD")
        .replace("\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n");
      const file = path.join(test.base, "commit");
      execFileSync("tee", [file], { input: signed, stdio: ["pipe", "ignore", "ignore"] });
      repo.git("update-ref", "HEAD", repo.git("hash-object", "-t", "commit", "-w", file).trim());
      config("gpg.program", program);
      config("log.showSignature", "true");
    },
    falls: { args: ["log"] },
  },
  {
    name: "core.pager",
    plant: () => void config("core.pager", program),
    falls: { args: ["log"] },
    needsTerminal: true,
  },
  {
    name: "a lazy fetch with core.sshCommand",
    plant: async () => {
      await planPromise("ssh://example.invalid/x");
      config("core.sshCommand", program);
    },
    falls: { args: ["diff", "HEAD"] },
    isIncomplete: true,
  },
  {
    name: "a lazy fetch with core.gitProxy",
    plant: async () => {
      await planPromise("git://example.invalid/x");
      config("core.gitProxy", program);
    },
    falls: { args: ["diff", "HEAD"] },
    isIncomplete: true,
  },
  {
    name: "a lazy fetch with a command as address",
    plant: async () => {
      await planPromise(`ext::${program}`);
      config("protocol.ext.allow", "always");
    },
    falls: { args: ["diff", "HEAD"] },
    isIncomplete: true,
  },
  {
    name: "a lazy fetch with remote.origin.uploadpack",
    plant: async () => {
      await planPromise(`file://${repo.folder}`);
      config("remote.origin.uploadpack", program);
    },
    falls: { args: ["diff", "HEAD"] },
    isIncomplete: true,
  },
  {
    name: "a submodule's own configuration",
    plant: async () => {
      const inner = await test.repository("repo/inner");
      await inner.write({ "a.txt": "one\n" });
      inner.commit("inner");
      repo.git("-c", "advice.addEmbeddedRepo=false", "add", "inner");
      inner.git("config", "filter.evil.clean", program);
      await inner.write({ ".git/info/attributes": "* filter=evil\n" });
      await utimes(path.join(inner.folder, "a.txt"), 1, 1);
    },
  },
  {
    name: "variables of git in our environment",
    plant: () => undefined,
    falls: { args: ["diff"], variables: { GIT_EXTERNAL_DIFF: "PROGRAM" } },
  },
  {
    name: "a configuration in our environment",
    plant: () => undefined,
    falls: {
      args: ["diff"],
      variables: { GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: "diff.external", GIT_CONFIG_VALUE_0: "PROGRAM" },
    },
  },
  {
    name: "a program git in the work tree and a PATH with the current folder",
    plant: async () => {
      await writeFile(path.join(repo.folder, "git"), readFileSync(program));
      await chmod(path.join(repo.folder, "git"), 0o755);
    },
    falls: { args: ["diff"], variables: { PATH: `.:${process.env["PATH"] ?? ""}` } },
  },
  {
    // As `npx` adds it.
    name: "a program git in the work tree's node_modules/.bin, which is in PATH",
    plant: async () => {
      const folder = path.join(repo.folder, "node_modules", ".bin");
      await mkdir(folder, { recursive: true });
      await writeFile(path.join(folder, "git"), readFileSync(program));
      await chmod(path.join(folder, "git"), 0o755);
    },
    falls: { args: ["diff"], variables: { PATH: `REPO/node_modules/.bin:${process.env["PATH"] ?? ""}` } },
  },
];

/** Names, kinds, contents and times of everything in a folder. */
function stateOf(folder: string): string {
  const hash = createHash("sha256");
  const walk = (at: string): void => {
    for (const name of readdirSync(at).toSorted()) {
      const file = path.join(at, name);
      const found = lstatSync(file);
      hash.update(`${path.relative(folder, file)}\0${found.mode}\0${found.mtimeMs}\0`);
      if (found.isSymbolicLink()) hash.update(readlinkSync(file));
      else if (found.isDirectory()) walk(file);
      else hash.update(readFileSync(file));
    }
  };
  walk(folder);
  return hash.digest("hex");
}

function variablesOf({ falls }: Attack): Record<string, string> {
  const given = Object.entries(falls?.variables ?? {}).map(([key, value]) => [
    key,
    value.replace("PROGRAM", program).replace("REPO", repo.folder),
  ]);
  return Object.fromEntries(given) as Record<string, string>;
}

/** Runs plain git, in a terminal if the attack needs one. Git may fail: the marker counts. */
function runPlain(attack: Attack): void {
  const { args } = attack.falls ?? { args: ["diff"] };
  const env = { ...gitVariables(path.join(test.base, "home")), ...variablesOf(attack) };
  const [command, given] =
    attack.needsTerminal === true
      ? (["script", ["-qec", `git ${args.join(" ")}`, "/dev/null"]] as const)
      : (["git", args] as const);
  spawnSync(command, given, { cwd: repo.folder, env, stdio: ["ignore", "ignore", "ignore"], timeout: 20_000 });
}

async function readAll({ variables = {}, isIncomplete = false } = {}): Promise<void> {
  const git = {
    environment: { ...process.env, ...variables },
    homeDirectory: path.join(test.base, "home"),
    signal: new AbortController().signal,
  };
  for (const source of sources) {
    const reading = test.read({ folders: [repo.folder] }, [source], { git });
    await (isIncomplete ? reading.catch(() => undefined) : reading);
  }
}

const hasTerminal = spawnSync("script", ["-qec", "true", "/dev/null"], { stdio: "ignore" }).status === 0;

describe.skipIf(process.platform === "win32")("a hostile repository", () => {
  it.each(attacks.map((attack) => [attack.name, attack] as const))(
    "runs nothing and is not written to: %s",
    async (_name, attack) => {
      if (attack.needsTerminal === true && !hasTerminal) return;
      await attack.plant();
      const before = stateOf(repo.folder);
      await readAll({ variables: variablesOf(attack), isIncomplete: attack.isIncomplete === true });
      expect(existsSync(marker)).toBe(false);
      expect(stateOf(repo.folder)).toBe(before);
      runPlain(attack);
      expect(existsSync(marker), "plain git falls for it").toBe(true);
    },
  );

  it("keeps its stale index, which plain git rewrites", async () => {
    const before = stateOf(repo.folder);
    await readAll();
    expect(stateOf(repo.folder)).toBe(before);
    repo.git("diff");
    expect(stateOf(repo.folder)).not.toBe(before);
  });

  it("is read all the same", async () => {
    for (const key of ["core.fsmonitor", "diff.external", "filter.evil.clean"]) config(key, program);
    await appendFile(path.join(repo.folder, ".git", "info", "attributes"), "* filter=evil\n");
    const [staged, changed, both, log, commit] = await test.read({ folders: [repo.folder] }, sources);
    expect(staged).toContain("-one\n+changed and staged\n");
    expect(changed).toContain("-two\n+changed\n");
    expect(both).toContain("+changed and staged\n");
    expect(both).toContain("+changed\n");
    expect(log).toMatch(/^commit [0-9a-f]{7,} 2026-01-02 Ann\n\nfirst\n/);
    expect(commit).toContain("+three");
    expect(existsSync(marker)).toBe(false);
  });
});
