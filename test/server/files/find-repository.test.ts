import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AllowedRoots } from "../../../src/server/files/allowed-paths.ts";
import { type GitRepository, type GitTest, gitTest } from "../../support/git-repository.ts";

let test: GitTest;
let repo: GitRepository;

beforeEach(async () => {
  test = await gitTest();
  repo = await test.repository();
});

afterEach(() => test.remove());

async function read(source: string, roots: AllowedRoots = { folders: [repo.folder] }): Promise<string> {
  return (await test.read(roots, [source])).join("");
}

function refusal(source: string, roots: AllowedRoots): Promise<string> {
  return test.refusal(roots, source);
}

describe.skipIf(process.platform === "win32")("a pipe in place of a file", () => {
  it.each([
    ".git/config",
    ".git/HEAD",
    ".git/index",
    ".git/packed-refs",
    ".git/info/attributes",
    ".git/objects/pack/pack-1.idx",
    ".gitattributes",
  ])("ends the reading at once: %s", async (name) => {
    await repo.fill();
    const file = path.join(repo.folder, name);
    await rm(file, { force: true });
    execFileSync("mkfifo", [file]);
    const start = performance.now();
    expect(await refusal("git:log:1", { folders: [repo.folder] })).toMatch(
      /not a regular file|is not a file inside the repository/,
    );
    expect(performance.now() - start).toBeLessThan(3_000);
  });
});

it("refuses 21,000 branches in files before it copies the first", async () => {
  await repo.fill();
  const folder = path.join(repo.folder, ".git", "refs", "heads", "many");
  await mkdir(folder);
  const hash = repo.git("rev-parse", "HEAD");
  for (let index = 0; index < 21_000; index += 1) writeFileSync(path.join(folder, `b${index}`), hash);
  const start = performance.now();
  expect(await refusal("git:log:1", { folders: [repo.folder] })).toContain(
    "more than 20000 branches and tags in files",
  );
  expect(performance.now() - start).toBeLessThan(2_000);
});

describe("which repository", () => {
  it("is that of the working directory, else the only one; of several the folder must be named", async () => {
    await repo.fill();
    const other = await test.repository("other");
    await other.write({ "x.txt": "other\n" });
    other.git("add", ".");
    const plain = path.join(test.base, "plain");
    await mkdir(plain);
    const all = { folders: [plain, repo.folder, other.folder] };
    expect(await read("git:staged", { ...all, workingDirectory: other.folder })).toContain("+other");
    expect(await read("git:staged", { folders: [plain, other.folder], workingDirectory: plain })).toContain("+other");
    expect(await refusal("git:staged", all)).toMatchInlineSnapshot(`
      "git:staged: several allowed folders are repositories
      Choose one of /base/repo/git:staged, /base/other/git:staged."
    `);
    expect(await read(`${other.folder}/git:staged`, all)).toContain("+other");
    expect(await read(`${repo.folder}/git:show:v1`, all)).toContain("+more");
    expect(await refusal(`${plain}/git:staged`, all)).toBe("git:staged: /base/plain is not in a git repository");
    expect(await refusal("git:staged", { folders: [plain] })).toMatchInlineSnapshot(`
      "git:staged: no allowed folder is in a git repository (/base/plain)
      Name files instead."
    `);
    expect(await refusal("git:staged", { folders: [] })).toContain("git:staged: no folder is allowed yet");
    expect(await refusal(`${repo.folder}/git:staged`, { folders: [plain] })).toContain("outside the allowed folders");
  });

  it("shows nothing outside a root that is a part of the work tree", async () => {
    await repo.fill();
    await repo.write({ "docs/more.md": "more docs\n" });
    repo.git("add", "docs/more.md");
    const roots = { folders: [path.join(repo.folder, "docs")] };
    const staged = await read("git:staged", roots);
    expect(staged).toContain("+more docs");
    expect(staged).not.toContain("a.ts");
    expect(await read("git:diff:HEAD", roots)).not.toContain("a.ts");
    expect(await read("git:log:9", roots)).not.toContain("second");
    expect(await refusal("git:show:HEAD", roots)).toMatchInlineSnapshot(`
      "git:show:HEAD: the commit changes nothing below docs
      Name another REF."
    `);
    await mkdir(path.join(repo.folder, "e*"));
    expect(await refusal("git:staged", { folders: [path.join(repo.folder, "e*")] })).toContain(
      "nothing is staged below e*",
    );
  });

  it("shows nothing of our own home, not even of one that is committed", async () => {
    await repo.write({ "a.txt": "x\n", ".ollm/config.yaml": "secret: 1\n" });
    repo.commit("all");
    const access = { configFile: path.join(repo.folder, ".ollm", "config.yaml") };
    const [shown] = await test.read({ folders: [repo.folder] }, ["git:show:HEAD"], access);
    expect(shown).toContain("+x\n");
    expect(shown).not.toContain("secret");
  });

  it("is not that of the user's home folder", async () => {
    const home = await test.repository("home");
    await home.write({ "x.txt": "x\n" });
    home.git("add", ".");
    const below = path.join(home.folder, "below");
    await mkdir(below);
    expect(await refusal("git:staged", { folders: [below] })).toContain("no allowed folder is in a git repository");
  });

  it("may be a linked work tree or a submodule whose data are outside the roots, as they name it", async () => {
    await repo.fill();
    repo.commit("third");
    const linked = path.join(test.base, "linked");
    repo.git("worktree", "add", "--quiet", "-b", "side", linked);
    await writeFile(path.join(linked, "new.txt"), "linked\n");
    const tree = await test.repository("linked");
    tree.git("add", ".");
    expect(await read("git:staged", { folders: [linked] })).toContain("+linked");
    expect(await read("git:show:side", { folders: [linked] })).toContain("third");
    const outer = await test.repository("outer");
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", repo.folder, "sub");
    expect(await read("git:log:1", { folders: [path.join(outer.folder, "sub")] })).toContain("third");
  });
});

describe.skipIf(process.platform === "win32")("data outside the allowed folders", () => {
  let own: GitRepository;
  const outside = "is outside the allowed folders (/base/repo/.git";

  beforeEach(async () => {
    await repo.fill();
    own = await test.repository("own");
    await own.write({ "x.txt": "x\n" });
    own.commit("own");
  });

  const inOwn = (...names: readonly string[]): string => path.join(own.folder, ".git", ...names);
  const inOther = (...names: readonly string[]): string => path.join(repo.folder, ".git", ...names);
  const roots = (): AllowedRoots => ({ folders: [own.folder], configFile: "/home/ann/.ollm/config.yaml" });

  it.each([
    [
      "a file .git",
      async () => {
        await rm(inOwn(), { recursive: true });
        await writeFile(inOwn(), `gitdir: ${inOther()}\n`);
      },
    ],
    [
      "a link .git",
      async () => {
        await rm(inOwn(), { recursive: true });
        await symlink(inOther(), inOwn());
      },
    ],
    ["commondir", () => writeFile(inOwn("commondir"), inOther())],
    [
      "a link objects",
      async () => {
        await rm(inOwn("objects"), { recursive: true });
        await symlink(inOther("objects"), inOwn("objects"));
      },
    ],
    [
      "a link among the packs",
      async () => {
        await symlink(inOther("HEAD"), inOwn("objects", "pack", "pack-1.pack"));
      },
    ],
    ["alternates", () => writeFile(inOwn("objects", "info", "alternates"), `${inOther("objects")}\n`)],
    [
      "alternates of a folder of objects that is an alternate",
      async () => {
        await own.write({
          ".git/objects/info/alternates": `${inOwn("objects", "aa")}\n`,
          ".git/objects/aa/info/alternates": `${inOther("objects")}\n`,
        });
      },
    ],
  ])("are refused: %s", async (_name, plant) => {
    await plant();
    const refused = await refusal("git:log:5", roots());
    expect(refused).toContain(outside);
    expect(refused).toContain("Tell the user: only they can allow it, with `ollm setup --root ");
  });

  it.each([
    ["a link packed-refs", "packed-refs", "is not a file inside the repository"],
    ["a link index", "index", "is not a file inside the repository"],
    ["quoted alternates", "objects/info/alternates", "has a form that can't be checked"],
  ])("are refused: %s", async (_name, file, message) => {
    repo.git("pack-refs", "--all");
    await rm(inOwn(file), { force: true });
    if (file.startsWith("objects")) await writeFile(inOwn(file), `"${inOther("objects")}"\n`);
    else await symlink(inOther(file), inOwn(file));
    expect(await refusal("git:staged", roots())).toContain(message);
  });

  it.each([
    ["a file above", "dd/dddddd/key.txt", ".././../base/key.txt"],
    ["a file of .git", "dddd/x", ".GIT/x"],
  ])("are refused: an index that names %s", async (_name, name, stray) => {
    await writeFile(path.join(test.base, "key.txt"), "TOPSECRET\n");
    const real = stray.replace("base", path.basename(test.base));
    const padded = name.padEnd(real.length, "d");
    await own.write({ [padded]: "x\n" });
    own.git("add", ".");
    const index = (await readFile(inOwn("index"))).subarray(0, -20);
    index.write(real, index.indexOf(padded), "latin1");
    await writeFile(inOwn("index"), Buffer.concat([index, createHash("sha1").update(index).digest()]));
    expect(own.git("ls-files")).toContain(real);
    for (const source of ["git:diff", "git:diff:HEAD"]) {
      expect(await refusal(source, roots())).toContain("the repository's index names files outside its work tree");
    }
  });

  it("are allowed in another root", async () => {
    await writeFile(inOwn("objects", "info", "alternates"), `${inOther("objects")}\n`);
    const both = { folders: [own.folder, repo.folder], workingDirectory: own.folder };
    expect(await read("git:log:5", both)).toContain("own");
  });

  it("are not what core.worktree or a linked folder of the work tree names", async () => {
    await mkdir(path.join(test.base, "secret"));
    await writeFile(path.join(test.base, "secret", "x.txt"), "secret\n");
    own.git("config", "core.worktree", path.join(test.base, "secret"));
    await own.write({ "x.txt": "mine\n" });
    expect(await read("git:diff", roots())).toContain("+mine\n");
    own.git("config", "--unset", "core.worktree");
    await own.write({ "dir/x.txt": "x\n" });
    own.commit("dir");
    await rm(path.join(own.folder, "dir"), { recursive: true });
    await symlink(path.join(test.base, "secret"), path.join(own.folder, "dir"));
    expect(await read("git:diff", roots())).not.toContain("secret\n");
  });
});
