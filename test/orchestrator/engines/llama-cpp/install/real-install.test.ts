import { execFile } from "node:child_process";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { engineLimitMs, installedEngine } from "../../../../support/engine.ts";

/** Returns the bytes of all files below a folder. */
async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(file.parentPath, file.name))).size));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

test(
  "the real engine is installed from the configured registry, takes at most 90 MB and runs",
  { timeout: engineLimitMs },
  async () => {
    const { modulePath, enginesFolder } = await installedEngine();
    expect(await bytesBelow(enginesFolder)).toBeLessThanOrEqual(90_000_000);

    const script = `const { getLlama } = await import(${JSON.stringify(pathToFileURL(modulePath).href)});
    console.log(typeof getLlama);`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], {
      timeout: 60_000,
    });
    expect(stdout.trim()).toBe("function");
  },
);

test("concurrent workers get the same installation", { timeout: engineLimitMs }, async () => {
  const [first, second] = await Promise.all([installedEngine(), installedEngine()]);
  expect(second).toEqual(first);
});
