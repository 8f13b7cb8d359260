import { EventEmitter, once } from "node:events";
import { readdirSync, renameSync } from "node:fs";
import { mkdir, mkdtemp, readdir, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import { openOutput } from "../../src/server/files/output-file.ts";

let base = "";

beforeEach(async () => {
  base = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-output-")));
});

afterEach(() => rm(base, { recursive: true, force: true }));

describe.skipIf(process.platform === "win32")("an output file", () => {
  it.each([true, false])(
    "is not left behind when its folder is away for a while and comes back (relative to the open folder: %s)",
    async (hasHandlePaths) => {
      const at = (name: string): string => path.join(base, name);
      for (const name of ["root", "root/sub", "outside"]) await mkdir(at(name));
      await symlink(at("outside"), at("root/link"));
      const swaps = new EventEmitter();
      const isBack = once(swaps, "back");
      // As a program does that swaps them, and has to wait for the processor before it swaps them back.
      const swapWhenCreated = (): void => {
        if (readdirSync(at("root/sub")).length === 0) return void setImmediate(swapWhenCreated);
        renameSync(at("root/sub"), at("root/away"));
        renameSync(at("root/link"), at("root/sub"));
        setTimeout(() => {
          renameSync(at("root/sub"), at("root/link"));
          renameSync(at("root/away"), at("root/sub"));
          swaps.emit("back");
        }, 300);
      };
      const how = { hasHandlePaths, beforeOpen: async () => swapWhenCreated() };
      const output = await openOutput("sub/a.md", { folders: [at("root")] }, how);
      await expect(output.write("text")).rejects.toThrow(InvalidRequest);
      await isBack;
      expect(await readdir(at("root/sub"))).toEqual([]);
      expect(await readdir(at("outside"))).toEqual([]);
    },
  );
});

describe.skipIf(process.platform === "win32")("an output folder", () => {
  it("ends with a slash, and a free name is chosen in it", async () => {
    const root = path.join(base, "root");
    for (const name of ["root", "outside"]) await mkdir(path.join(base, name));
    await symlink(path.join(base, "outside"), path.join(root, "link"));
    const roots = { folders: [root] };
    await expect(openOutput("sub/", roots)).rejects.toThrow("the output folder sub/ does not exist");
    await mkdir(path.join(root, "sub"));
    for (const name of ["answer.txt", "answer-2.txt"]) {
      const output = await openOutput("sub/", roots);
      expect(output.path).toBe(path.join(root, "sub", name));
      await output.write("text");
    }
    // The root itself, whose own folder is outside.
    expect((await openOutput("./", roots)).path).toBe(path.join(root, "answer.txt"));
    expect((await openOutput(`${root}/`, roots)).path).toBe(path.join(root, "answer.txt"));
    await expect(openOutput("link/", roots)).rejects.toThrow("does not exist");
    await expect(openOutput("../outside/", roots)).rejects.toThrow("is outside the allowed folders");
  });
});
