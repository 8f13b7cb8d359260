import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readFile, readdir, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { applyWork, recoverWork } from "../../../src/server/files/apply-work.ts";
import { useBundled } from "../../support/bundled.ts";
import { copyOf, temporaryFolder, workId } from "../../support/work-copy.ts";

const never = new AbortController().signal;
const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const program = useBundled(new URL("../../support/apply-process.ts", import.meta.url));

const files = Object.fromEntries(["a.ts", "b/b.ts", "c.ts", "d.ts"].map((name) => [name, `old ${name}\n`]));

/** A worker's kept changes: three files, and one in a new folder. */
async function changed() {
  const made = await copyOf(files);
  const { copy } = made;
  for (const name of ["a.ts", "b/b.ts", "c.ts"]) await copy.edit(name, "old", "new");
  await copy.write("new/deep/e.ts", "made\n");
  return made;
}

async function kept() {
  const made = await changed();
  await made.copy.keep(never);
  return made;
}

/** All files below a folder, with their text. */
async function treeOf(folder: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const texts = entries.map(async (entry) => {
    const file = join(entry.parentPath, entry.name);
    return [file.slice(folder.length + 1), entry.isFile() ? await readFile(file, "utf8") : "/"] as const;
  });
  return Object.fromEntries((await Promise.all(texts)).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

const before = { ...files, b: "/" };

describe("the changes of a worker", () => {
  it("are a diff that git applies", async () => {
    const { copy, folder, base } = await changed();
    const diff = (await copy.keep(never)).map((file) => file.diff).join("");
    expect(diff).toContain("diff --git a/a.ts b/a.ts");
    expect(diff).toContain("-old a.ts\n+new a.ts\n");
    expect(diff).not.toContain(folder);
    await writeFile(join(folder, "x.diff"), diff);
    execFileSync("git", ["apply", join(folder, "x.diff")], { cwd: base });
    expect(await readFile(join(base, "new/deep/e.ts"), "utf8")).toBe("made\n");
    expect(await readFile(join(base, "b/b.ts"), "utf8")).toBe("new b/b.ts\n");
  });

  it("show a change that the tree's attributes would hide, and run no filter of it", async () => {
    const { copy } = await copyOf({ ".gitattributes": "*.ts -diff filter=evil diff=evil\n", "a.ts": "old\n" });
    await copy.edit("a.ts", "old", "new");
    expect((await copy.keep(never))[0]?.diff).toContain("-old\n+new\n");
  });

  it("are applied once, with the modes that the files had, and leave nothing behind", async () => {
    const { home, base, roots } = await kept();
    await chmod(join(base, "a.ts"), 0o750);
    const applied = await applyWork(home, workId, roots);
    expect(applied).toEqual(["a.ts", "b/b.ts", "c.ts", "new/deep/e.ts"]);
    expect(await treeOf(base)).toMatchObject({ "a.ts": "new a.ts\n", "d.ts": "old d.ts\n", "new/deep/e.ts": "made\n" });
    if (process.platform !== "win32") expect((await stat(join(base, "a.ts"))).mode & 0o777).toBe(0o750);
    expect(await readdir(join(home, "work"))).toEqual([]);
    await expect(applyWork(home, workId, roots)).rejects.toThrow("there are no changes of");
  });

  it.each([
    ["changed", (base: string) => writeFile(join(base, "c.ts"), "mine\n")],
    ["removed", (base: string) => rm(join(base, "c.ts"))],
    ["made", (base: string) => mkdir(join(base, "new/deep/e.ts"), { recursive: true })],
    [
      "replaced by a link",
      async (base: string) => {
        await rm(join(base, "b"), { recursive: true });
        await symlink(await temporaryFolder(), join(base, "b"));
      },
    ],
  ])("are refused as a whole when a file was %s since", async (_what, change) => {
    const { home, base, roots } = await kept();
    await change(base);
    const tree = await treeOf(base);
    await expect(applyWork(home, workId, roots)).rejects.toThrow(/nothing was applied, because these changed/);
    expect(await treeOf(base)).toEqual(tree);
  });

  it("are undone when a file can't be written, and can be applied later", async () => {
    const { home, base, roots } = await kept();
    const failing = applyWork(home, workId, roots, async () => writeFile(join(base, "c.ts"), "mine\n"));
    await expect(failing).rejects.toThrow("nothing was applied: c.ts changed meanwhile");
    expect(await treeOf(base)).toEqual({ ...before, "c.ts": "mine\n" });
    await writeFile(join(base, "c.ts"), "old c.ts\n");
    expect(await applyWork(home, workId, roots)).toHaveLength(4);
  });

  it("are refused outside the roots, and under any other id", async () => {
    const { home } = await kept();
    const roots = { folders: [await temporaryFolder()], closed: home };
    await expect(applyWork(home, workId, roots)).rejects.toThrow("outside the allowed folders");
    await expect(applyWork(home, "../work", roots)).rejects.toThrow("there are no changes of");
  });
});

describe.skipIf(process.platform === "win32")("a process that is killed while it applies", () => {
  async function killed(count: number, afterMs?: number) {
    const made = await kept();
    const child = spawn(process.execPath, [program(), made.home, made.base, workId, String(count)], {
      stdio: "ignore",
    });
    const exited = once(child, "exit");
    if (afterMs !== undefined) void setTimeout(afterMs).then(() => child.kill("SIGKILL"));
    await exited;
    await recoverWork(made.home, 24, quiet);
    return made;
  }

  it.each([1, 2, 3, 4])("after file %i leaves the tree as it was at the next start", async (count) => {
    const { base, home, roots } = await killed(count);
    expect(await treeOf(base)).toEqual(before);
    // What was undone can be applied again.
    expect(await applyWork(home, workId, roots)).toHaveLength(4);
    expect(await treeOf(base)).toMatchObject({ "a.ts": "new a.ts\n", "new/deep/e.ts": "made\n" });
  });

  it.each([60, 75, 90, 100, 110, 130])("after %i ms leaves all or nothing", async (afterMs) => {
    const { base } = await killed(0, afterMs);
    const after = {
      ...before,
      ...Object.fromEntries(["a.ts", "b/b.ts", "c.ts"].map((name) => [name, `new ${name}\n`])),
      new: "/",
      "new/deep": "/",
      "new/deep/e.ts": "made\n",
    };
    expect([before, after]).toContainEqual(await treeOf(base));
  });

  it("keeps what the user changed since", async () => {
    const made = await kept();
    const child = spawn(process.execPath, [program(), made.home, made.base, workId, "2"], { stdio: "ignore" });
    await once(child, "exit");
    await writeFile(join(made.base, "a.ts"), "mine\n");
    await recoverWork(made.home, 24, quiet);
    expect(await treeOf(made.base)).toEqual({ ...before, "a.ts": "mine\n" });
  });
});

it("removes abandoned copies and old changes at the start, and no others", async () => {
  const { home } = await copyOf(files);
  const folder = join(home, "work", workId);
  await recoverWork(home, 24, quiet);
  expect(await readdir(join(home, "work"))).toEqual([workId]);
  const old = new Date(Date.now() - 3 * 3_600_000);
  await utimes(folder, old, old);
  await recoverWork(home, 24, quiet);
  expect(await readdir(join(home, "work"))).toEqual([]);
});
