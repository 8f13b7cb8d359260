import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { filesIn, headerOf } from "../../bench/support/fit-grid/files.ts";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import { encodeGguf } from "../support/gguf-writer.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-fit-files-"));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const { header } = encodeGguf({
  metadata: [["general.architecture", "string", "llama"]],
  tensors: [{ name: "token_embd.weight", type: "F32", shape: [64, 1_000] }],
});

async function written(name: string, bytes: Buffer): Promise<string> {
  await writeFile(join(folder, name), bytes);
  return join(folder, name);
}

describe("the files of a folder", () => {
  it("are those that end in .gguf, a model in several parts once; folders of such names are passed over", async () => {
    for (const name of ["b.GGUF", "a.gguf", "c-00001-of-00002.gguf", "c-00002-of-00002.gguf", "notes.txt"])
      await written(name, header);
    await mkdir(join(folder, "z.gguf"));
    expect(await filesIn(folder)).toEqual(["a.gguf", "b.GGUF", "c-00001-of-00002.gguf"]);
  });

  it("are missed in words where there are none, and where there is no folder", async () => {
    await expect(filesIn(folder)).rejects.toThrow(InvalidRequest);
    await expect(filesIn(join(folder, "absent"))).rejects.toThrow(InvalidRequest);
  });
});

describe("a header", () => {
  it("is all that is needed: the data may be missing", async () => {
    expect(headerOf(await written("a.gguf", header))).toMatchObject({ architecture: "llama", weightsBytes: 256_000 });
  });

  it("that is cut off, empty, of another format or one of several parts is reported", async () => {
    const cut = await written("cut.gguf", header);
    await truncate(cut, 40);
    const part = encodeGguf({
      metadata: [
        ["general.architecture", "string", "llama"],
        ["split.count", "u16", 2],
      ],
      tensors: [],
    });
    expect(headerOf(cut)).toMatch(/its header is cut off .* the file has 40/);
    expect(headerOf(await written("empty.gguf", Buffer.alloc(0)))).toMatch(/empty/);
    expect(headerOf(await written("page.gguf", Buffer.from("<html>")))).toMatch(/HTML/);
    expect(headerOf(await written("part.gguf", part.header))).toMatch(/one of 2 parts/);
    expect(headerOf(join(folder, "absent.gguf"))).toMatch(/ENOENT/);
  });
});
