import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import {
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { renderSteps } from "../../src/next-steps/render.ts";
import { toolSteps } from "../../src/next-steps/tools.ts";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import { createFiles } from "../../src/server/files/files.ts";

let base = "";
let root = "";
let secret = "";

beforeEach(async () => {
  base = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-files-")));
  root = path.join(base, "root");
  secret = path.join(base, "secret", "key.txt");
  await mkdir(root);
  await mkdir(path.dirname(secret));
  await writeFile(secret, "secret");
  await writeFile(path.join(root, "notes.txt"), "hello");
});

afterEach(async () => rm(base, { recursive: true, force: true }));

function files(options: Partial<Parameters<typeof createFiles>[0]> & { readonly workingDirectory?: string } = {}) {
  const { workingDirectory, ...access } = options;
  return createFiles({
    roots: async () => ({ folders: [root], ...(workingDirectory !== undefined && { workingDirectory }) }),
    limits: { maxFileBytes: 1000, maxTotalBytes: 2500 },
    configFile: "/home/ann/.ollm/config.yaml",
    git: { environment: process.env, homeDirectory: base, signal: new AbortController().signal },
    ...access,
  });
}

/** Message and next steps of the refusal. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof InvalidRequest)) throw new Error(`no refusal: ${String(error)}`);
  return [error.message, renderSteps(error.next, toolSteps)].join("\n").trimEnd().replaceAll(base, "/base");
}

describe("reading inside the roots", () => {
  it("reads by relative and absolute name", async () => {
    const names = ["notes.txt", path.join(root, "notes.txt"), "./sub/../notes.txt"];
    const read = await files().readText(names);
    expect(read).toEqual(names.map(() => ({ path: "notes.txt", text: "hello" })));
  });

  it("names each relative to its root, and tells several roots apart", async () => {
    const other = path.join(base, "other", "root");
    await mkdir(path.join(other, "sub"), { recursive: true });
    await mkdir(path.join(root, "sub"));
    for (const folder of [root, other]) await writeFile(path.join(folder, "sub", "a.md"), "x");
    const nested = path.join(root, "sub");
    const service = files({ roots: async () => ({ folders: [nested, root, other], workingDirectory: nested }) });
    const names = [path.join(root, "sub", "a.md"), "a.md", path.join(other, "sub", "a.md")];
    const read = await service.readText(names);
    const above = path.basename(base);
    expect(read.map((file) => file.path)).toEqual([
      `${above}/root/sub/a.md`,
      `${above}/root/sub/a.md`,
      "other/root/sub/a.md",
    ]);
  });

  it("names a file that a link outside leads to by its path in the root", async () => {
    await symlink(root, path.join(base, "alias"));
    const [file] = await files().readText([path.join(base, "alias", "notes.txt")]);
    expect(file?.path).toBe("notes.txt");
  });

  it("tries the working directory before the roots", async () => {
    const project = path.join(base, "project");
    await mkdir(project);
    await writeFile(path.join(project, "notes.txt"), "from the project");
    const service = files({ roots: async () => ({ folders: [root, project], workingDirectory: project }) });
    expect(await service.readText(["notes.txt"])).toEqual([{ path: "project/notes.txt", text: "from the project" }]);
  });

  it("follows a link that stays inside", async () => {
    await symlink(path.join(root, "notes.txt"), path.join(root, "link.txt"));
    expect(await files().readText(["link.txt"])).toEqual([{ path: "link.txt", text: "hello" }]);
  });

  it("names the folders that were searched for a missing file", async () => {
    expect(await refusal(files().readText(["none.txt"]))).toBe(
      "none.txt was not found in /base/root\nDid you mean notes.txt?",
    );
  });
});

describe("a path outside the roots", () => {
  it("is rejected, with the line that would allow it", async () => {
    expect(await refusal(files().readText([secret]))).toMatchInlineSnapshot(`
      "/base/secret/key.txt is outside the allowed folders (/base/root)
      Tell the user: only they can allow it, with \`ollm setup --root /base/secret\` and a restart of this client."
    `);
  });

  it("is refused alike whether it exists or not", async () => {
    const present = await refusal(files().readText([secret]));
    const absent = await refusal(files().readText([path.join(base, "secret", "xxx.txt")]));
    expect(absent).toBe(present.replace("key.txt", "xxx.txt"));
  });

  it.each(["../secret/key.txt", "sub/../../secret/key.txt"])("is not reached by %s", async (name) => {
    expect(await refusal(files().readText([name]))).toContain("is outside the allowed folders");
  });

  it("is not reached by a link to a file or through a linked folder", async () => {
    await symlink(secret, path.join(root, "file-link"));
    await symlink(path.dirname(secret), path.join(root, "folder-link"));
    expect(await refusal(files().readText(["file-link"]))).toContain("outside");
    expect(await refusal(files().readText(["folder-link/key.txt"]))).toContain("outside");
    expect(await refusal(files().readText([path.join(root, "file-link")]))).toContain(
      "(it leads to /base/secret/key.txt)",
    );
  });

  it("is not reached by swapping the file for a link after the check", async () => {
    const swap = async () => {
      await rm(path.join(root, "notes.txt"));
      await symlink(secret, path.join(root, "notes.txt"));
    };
    const error = await refusal(files({ beforeOpen: swap }).readText(["notes.txt"]));
    expect(error).toMatch(/can't be read \(ELOOP\)|outside/);
  });

  it("is not reached by swapping its folder for a link after the check", async () => {
    await mkdir(path.join(root, "sub"));
    await writeFile(path.join(root, "sub", "key.txt"), "harmless");
    const swap = async () => {
      await rename(path.join(root, "sub"), path.join(root, "sub-away"));
      await symlink(path.dirname(secret), path.join(root, "sub"));
    };
    const error = await refusal(files({ beforeOpen: swap }).readText(["sub/key.txt"]));
    expect(error).toContain("outside the allowed folders");
  });

  it.skipIf(process.platform === "win32")("is not described by where its links lead", async () => {
    await symlink(secret, path.join(base, "away.txt"));
    expect(await refusal(files().readText([path.join(base, "away.txt")]))).not.toContain("secret");
    await symlink(path.join(base, "loop"), path.join(base, "loop"));
    expect(await refusal(files().readText([path.join(base, "loop", "a.txt")]))).toContain(
      "outside the allowed folders",
    );
  });

  it("is our own home, also below a root that holds it; a root in it is granted", async () => {
    const home = path.join(root, ".ollm");
    await mkdir(path.join(home, "run"), { recursive: true });
    await mkdir(path.join(home, "shared"));
    await writeFile(path.join(home, "run", "http-token"), "token");
    await writeFile(path.join(home, "shared", "a.txt"), "shared");
    const configFile = path.join(home, "config.yaml");
    const service = files({ configFile });
    expect(await refusal(service.readText([".ollm/run/http-token"]))).toContain("belongs to ollm itself");
    expect(await refusal(service.readText([path.join(home, "none")]))).toContain("belongs to ollm itself");
    expect(await refusal(service.openOutput(".ollm/config.yaml"))).toContain("belongs to ollm itself");
    expect((await service.readText(["notes.txt"]))[0]?.text).toBe("hello");
    const granted = files({ configFile, roots: async () => ({ folders: [root, path.join(home, "shared")] }) });
    expect((await granted.readText([".ollm/shared/a.txt"]))[0]?.text).toBe("shared");
    expect(await refusal(granted.readText([".ollm/run/http-token"]))).toContain("belongs to ollm itself");
    const whole = files({ configFile, roots: async () => ({ folders: [home] }) });
    expect(await refusal(whole.readText(["run/http-token"]))).toContain("belongs to ollm itself");
  });

  it("is everything when there are no roots", async () => {
    const service = files({ roots: async () => ({ folders: [] }) });
    expect(await refusal(service.readText(["notes.txt"]))).toContain("no folder is allowed yet");
    expect(await refusal(service.openOutput("new.txt"))).toContain("no folder is allowed yet");
  });

  it("says how to allow the folder that the client was started in, wherever the daemon runs", async () => {
    const service = files({
      roots: async () => ({ folders: [] }),
      startedIn: root,
      // What a relative name would be resolved against: the daemon's working directory is its home.
      configFile: path.join(process.cwd(), "config.yaml"),
    });
    const told = await refusal(service.readText(["README.md"]));
    expect(told.replace(process.cwd(), "HOME")).toMatchInlineSnapshot(`
      "README.md is relative, and no folder is allowed yet
      Tell the user: only they can allow it, with \`ollm setup --root /base/root\` and a restart of this client."
    `);
    expect(await refusal(service.openOutput("new.txt"))).toContain("--root /base/root");
    expect(await refusal(service.findFolder("sub"))).toContain("--root /base/root");
    const elsewhere = files({ roots: async () => ({ folders: [] }), startedIn: path.parse(root).root });
    expect(await refusal(elsewhere.readText(["README.md"]))).toContain("ollm setup --root DIR");
  });
});

describe("what can't be read", () => {
  it("a folder", async () => {
    expect(await refusal(files().readText(["."]))).toBe(". is a folder\nName the files in it.");
  });

  it.skipIf(process.platform === "win32")(
    "a FIFO, without waiting for a writer (there are none on Windows)",
    async () => {
      execFileSync("mkfifo", [path.join(root, "pipe")]);
      expect(await refusal(files().readText(["pipe"]))).toContain("pipe is not a regular file");
    },
  );

  it("a file over the limit, with both numbers", async () => {
    await truncate(path.join(root, "notes.txt"), 1001);
    expect(await refusal(files().readText(["notes.txt"]))).toMatchInlineSnapshot(`
      "notes.txt is larger than 1.0 kB (1.0 kB)
      Name a smaller file, or raise the setting files.maxFileBytes."
    `);
  });

  it("more than the total limit", async () => {
    await writeFile(path.join(root, "big.txt"), "x".repeat(1000));
    expect(await refusal(files().readText(["big.txt", "big.txt", "big.txt"]))).toMatchInlineSnapshot(`
      "the files have more than 2.5 kB together, reached with big.txt
      Name fewer files, or raise the setting files.maxTotalBytes."
    `);
  });

  it("binary content, named", async () => {
    await writeFile(path.join(root, "image.txt"), Buffer.from("89504e470d0a1a0a", "hex"));
    await writeFile(path.join(root, "data.bin"), "a\0b");
    expect(await refusal(files().readText(["image.txt"]))).toBe(
      "image.txt is not text: PNG image\nName the file in images.",
    );
    expect(await refusal(files().readText(["data.bin"]))).toBe(
      "data.bin is not text: binary data\nConvert the file to text first.",
    );
    await writeFile(path.join(root, "sales.xlsx"), Buffer.from("504b0304", "hex"));
    expect(await refusal(files().readText(["sales.xlsx"]))).toBe(
      "sales.xlsx is not text: ZIP archive (also docx, xlsx, jar)\nSave the sheet as CSV first.",
    );
    expect(await refusal(files().readImages(["notes.txt"]))).toBe(
      "notes.txt is not a PNG, JPEG, WebP or GIF: unknown content\nName the file in files.",
    );
  });

  it("a name with a NUL character", async () => {
    expect(await refusal(files().readText(["notes.txt\0.png"]))).toContain("contains a NUL character");
  });
});

describe("writing inside the roots", () => {
  it("creates the file in one step and leaves nothing beside it", async () => {
    const output = await files().openOutput("answer.md");
    expect(output.path).toBe(path.join(root, "answer.md"));
    expect(await readdir(root)).toEqual(["notes.txt"]);
    expect(await output.write("grün")).toEqual({ bytes: 5 });
    expect(await readFile(output.path, "utf8")).toBe("grün");
    expect((await readdir(root)).toSorted()).toEqual(["answer.md", "notes.txt"]);
  });

  it("never replaces what is there, also when it appeared since", async () => {
    expect(await refusal(files().openOutput("notes.txt"))).toContain("the output file notes.txt already exists");
    const output = await files().openOutput("later.md");
    await writeFile(output.path, "another program's");
    expect(await refusal(output.write("mine"))).toContain("already exists");
    expect(await readFile(output.path, "utf8")).toBe("another program's");
  });

  it.each(["../escape.md", "folder-link/escape.md"])("does not leave the roots by %s", async (name) => {
    await symlink(path.dirname(secret), path.join(root, "folder-link"));
    expect(await refusal(files().openOutput(name))).toContain("outside the allowed folders");
  });

  it("does not write through a dangling link", async () => {
    await symlink(path.join(base, "secret", "new.txt"), path.join(root, "dangling"));
    expect(await refusal(files().openOutput("dangling"))).toContain("already exists");
  });

  it("does not follow a folder that became a link meanwhile", async () => {
    await mkdir(path.join(root, "sub"));
    const output = await files().openOutput("sub/answer.md");
    await rm(path.join(root, "sub"), { recursive: true });
    await symlink(path.dirname(secret), path.join(root, "sub"));
    expect(await refusal(output.write("text"))).toContain("outside");
    expect(await readdir(path.dirname(secret))).toEqual(["key.txt"]);
  });

  it.each([true, false])(
    "leaves nothing where its folder was swapped for a link at the last moment (relative to the open folder: %s)",
    async (hasHandlePaths) => {
      await mkdir(path.join(root, "sub"));
      const swap = async () => {
        await rename(path.join(root, "sub"), path.join(root, "sub-away"));
        await symlink(path.dirname(secret), path.join(root, "sub"));
      };
      const output = await files({ beforeOpen: swap, hasHandlePaths }).openOutput("sub/answer.md");
      expect(await refusal(output.write("text"))).toMatch(/outside|was replaced while the answer was written/);
      expect(await readdir(path.dirname(secret))).toEqual(["key.txt"]);
      expect(await readdir(path.join(root, "sub-away"))).toEqual([]);
    },
  );

  it.each([true, false])(
    "leaves nothing in a folder that was moved out of the roots (relative to the open folder: %s)",
    async (hasHandlePaths) => {
      await mkdir(path.join(root, "sub"));
      const move = () => rename(path.join(root, "sub"), path.join(base, "secret", "sub"));
      const output = await files({ beforeOpen: move, hasHandlePaths }).openOutput("sub/answer.md");
      expect(await refusal(output.write("text"))).toMatch(/outside|can't be written/);
      expect(await readdir(path.join(base, "secret", "sub"))).toEqual([]);
    },
  );

  it.skipIf(process.platform === "win32").each([true, false])(
    "writes nothing outside while another process swaps its folder all the time (relative to the open folder: %s)",
    async (hasHandlePaths) => {
      await mkdir(path.join(root, "sub"));
      await symlink(path.dirname(secret), path.join(root, "link"));
      const swapper = `const { renameSync } = require("node:fs");
        for (let count = 0; ; count += 1) {
          renameSync("sub", "away"); renameSync("link", "sub"); renameSync("sub", "link"); renameSync("away", "sub");
          if (count === 100) process.stdout.write("swapping");
        }`;
      const names = Array.from({ length: 400 }, (_each, index) => `sub/answer-${index}.md`);
      const outputs = await Promise.all(names.map((name) => files({ hasHandlePaths }).openOutput(name)));
      const child = spawn(process.execPath, ["-e", swapper], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
      await once(child.stdout, "data");
      let written = 0;
      const failures: unknown[] = [];
      for (const output of outputs) {
        try {
          await output.write("text");
          written += 1;
        } catch (error) {
          failures.push(error);
        }
      }
      child.kill("SIGKILL");
      await once(child, "exit");
      expect(failures.filter((error) => !(error instanceof InvalidRequest))).toEqual([]);
      const outside = await readdir(path.dirname(secret));
      const sizes = await Promise.all(outside.map(async (name) => (await stat(path.join(base, "secret", name))).size));
      expect(outside.filter((name, index) => name !== "key.txt" && (hasHandlePaths || sizes[index] !== 0))).toEqual([]);
      const folder = existsSync(path.join(root, "away")) ? "away" : "sub";
      const inside = await readdir(path.join(root, folder));
      expect(inside.filter((name) => name.endsWith(".md"))).toHaveLength(written);
      if (hasHandlePaths) expect(inside).toHaveLength(written);
    },
    60_000,
  );

  it("never replaces what appears at the last moment, but fills what is empty", async () => {
    const target = path.join(root, "answer.md");
    const late = await files({ beforeOpen: () => writeFile(target, "another program's") }).openOutput("answer.md");
    expect(await refusal(late.write("mine"))).toContain("already exists");
    expect(await readFile(target, "utf8")).toBe("another program's");
    await writeFile(target, "");
    await (await files().openOutput("answer.md")).write("mine");
    expect(await readFile(target, "utf8")).toBe("mine");
    expect((await readdir(root)).toSorted()).toEqual(["answer.md", "notes.txt"]);
  });

  it("requires the folder to exist", async () => {
    expect(await refusal(files().openOutput("none/answer.md"))).toBe(
      "the folder of the output file none/answer.md does not exist\nCreate the folder first.",
    );
    await mkdir(path.join(root, "sub"));
    expect(await refusal(files().openOutput("sub"))).toContain("the output file sub is a folder");
  });
});

describe("a file to import", () => {
  it("may be anywhere, except for a caller that may be on another machine", async () => {
    expect(await files().locate(secret)).toBe(secret);
    const confined = files({ isConfined: true });
    expect(await confined.locate("notes.txt")).toBe(path.join(root, "notes.txt"));
    await expect(confined.locate(secret)).rejects.toThrow(InvalidRequest);
    await expect(confined.locate("../secret/key.txt")).rejects.toThrow(InvalidRequest);
  });

  it.skipIf(process.platform === "win32")("is not reached through a link that leads out", async () => {
    await symlink(secret, path.join(root, "link.gguf"));
    await expect(files({ isConfined: true }).locate("link.gguf")).rejects.toThrow("outside the allowed folders");
  });
});
