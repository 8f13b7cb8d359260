import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseNvidiaSmi, runNvidiaSmi } from "../../../../src/orchestrator/memory/measure/system-probe.ts";

let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-nvidia-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function plant(script: string, into = folder): Promise<void> {
  await mkdir(into, { recursive: true });
  const file = path.join(into, "nvidia-smi");
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
}

describe.skipIf(process.platform === "win32")("nvidia-smi", () => {
  it("is run from absolute folders of PATH only: the current folder may be a stranger's", async () => {
    await plant(`echo ran > '${folder}/marker'`);
    const relative = path.relative(process.cwd(), folder);
    expect(await runNvidiaSmi(["", ".", relative].join(":"))).toBeUndefined();
    await expect(readFile(path.join(folder, "marker"))).rejects.toThrow("ENOENT");
    await plant("echo 'Card, 1024, 512'", path.join(folder, "bin"));
    expect(await runNvidiaSmi([relative, path.join(folder, "bin")].join(":"))).toBe("Card, 1024, 512\n");
  });

  it("is killed when it hangs, whatever it does with signals, and when it writes without end", async () => {
    await plant("trap '' TERM INT HUP; while :; do :; done");
    expect(await runNvidiaSmi(folder, 200)).toBe("");
    await plant("while :; do echo 'Card, 1024, 512'; done");
    expect(await runNvidiaSmi(folder)).toBe("");
    await plant("exit 9");
    expect(await runNvidiaSmi(folder)).toBeUndefined();
  });
});

describe("what nvidia-smi writes", () => {
  it("counts only where it can be true", () => {
    const absurd = ["", "garbage", `Card, ${"9".repeat(400)}, 1`, "Card, -5, 1", "Card, 1e300, 1", "Card, NaN, 1"];
    expect(parseNvidiaSmi(absurd.join("\n"))).toEqual([]);
    for (const free of ["-1", "1e300", "Infinity", "9".repeat(400)]) {
      expect(parseNvidiaSmi(`Card, 1024, ${free}\n`)).toEqual([{ name: "Card", totalBytes: 1024 ** 3 }]);
    }
    expect(parseNvidiaSmi("Card, 1024, 512\n".repeat(30_000))).toHaveLength(64);
    const [card] = parseNvidiaSmi(`\u001B[31m${"x".repeat(9_000)}, 1024, 512\n`);
    expect(card?.name).toMatch(/^[^\p{Cc}]{1,100}$/u);
  });
});
