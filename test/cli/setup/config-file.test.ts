import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  assertWritable,
  backupsOf,
  readConfigFile,
  replaceConfigFile,
  restoreConfigFile,
} from "../../../src/cli/setup/config-file.ts";

let folder: string;
const now = new Date("2026-11-21T10:30:00.123Z");

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-config-file-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("reading", () => {
  test("a missing file is an empty text, also below folders that are missing", async () => {
    expect(await readConfigFile(join(folder, "a", "b.json"))).toMatchObject({ text: "", bytes: undefined });
  });

  test("a byte order mark is not part of the text and is kept when writing", async () => {
    const name = join(folder, "a.json");
    await writeFile(name, "\uFEFF{}");
    const file = await readConfigFile(name);
    expect(file).toMatchObject({ text: "{}", hasByteOrderMark: true });
    await replaceConfigFile(file, '{"a":1}', now);
    expect(await readFile(name, "utf8")).toBe('\uFEFF{"a":1}');
  });

  test("a folder, text that isn't UTF-8 and a huge file are refused by name", async () => {
    await expect(readConfigFile(folder)).rejects.toThrow(`${folder} is a folder`);
    const utf16 = join(folder, "utf16.json");
    await writeFile(utf16, Buffer.from("\uFEFF{}", "utf16le"));
    await expect(readConfigFile(utf16)).rejects.toThrow(`${utf16} is not UTF-8`);
    const huge = join(folder, "huge.json");
    await writeFile(huge, "");
    await truncate(huge, 11_000_000);
    await expect(readConfigFile(huge)).rejects.toThrow("11.0 MB");
  });

  test.skipIf(process.platform === "win32")("links that lead in a circle end", async () => {
    const name = join(folder, "loop.json");
    await symlink(name, name);
    await expect(readConfigFile(name)).rejects.toThrow(name);
  });
});

describe("replacing", () => {
  test("keeps the mode, and a backup with the same mode", async () => {
    const name = join(folder, "a.json");
    await writeFile(name, "before");
    await chmod(name, 0o640);
    const backup = await replaceConfigFile(await readConfigFile(name), "after", now);
    expect(backup).toBe(`${name}.ollm-backup-20261121-103000123`);
    expect(await readFile(backup ?? "", "utf8")).toBe("before");
    expect(await readFile(name, "utf8")).toBe("after");
    if (process.platform !== "win32") {
      expect((await stat(name)).mode & 0o777).toBe(0o640);
      expect((await stat(backup ?? "")).mode & 0o777).toBe(0o640);
    }
    expect((await readdir(folder)).length).toBe(2);
  });

  test("creates the folders of a missing file, private to the user, without a backup", async () => {
    const name = join(folder, "x", "y", "a.json");
    expect(await replaceConfigFile(await readConfigFile(name), "{}", now)).toBeUndefined();
    expect(await readFile(name, "utf8")).toBe("{}");
    if (process.platform !== "win32") expect((await stat(name)).mode & 0o777).toBe(0o600);
  });

  test.skipIf(process.platform === "win32")(
    "writes through a link to the file itself, also a missing one",
    async () => {
      const real = join(folder, "dotfiles", "a.json");
      const name = join(folder, "a.json");
      await mkdir(join(folder, "dotfiles"));
      await symlink("dotfiles/a.json", name);
      await replaceConfigFile(await readConfigFile(name), "1", now);
      await replaceConfigFile(await readConfigFile(name), "2", now);
      expect(await readFile(real, "utf8")).toBe("2");
      expect((await readdir(folder)).toSorted()).toEqual(["a.json", "dotfiles"]);
      expect(await backupsOf(await readConfigFile(name))).toEqual([`${real}.ollm-backup-20261121-103000123`]);
    },
  );

  test("two backups of one instant don't overwrite one another; the newest comes first", async () => {
    const name = join(folder, "a.json");
    await writeFile(name, "1");
    await replaceConfigFile(await readConfigFile(name), "2", now);
    await replaceConfigFile(await readConfigFile(name), "3", now);
    await replaceConfigFile(await readConfigFile(name), "4", new Date(now.getTime() + 5));
    const backups = await backupsOf(await readConfigFile(name));
    expect(await Promise.all(backups.map((backup) => readFile(backup, "utf8")))).toEqual(["3", "2", "1"]);
  });

  test("a file that changed since it was read is not overwritten, without a backup", async () => {
    const name = join(folder, "a.json");
    await writeFile(name, "1");
    const file = await readConfigFile(name);
    await writeFile(name, "2");
    await expect(replaceConfigFile(file, "3", now)).rejects.toThrow("was changed by another program meanwhile");
    expect(await readFile(name, "utf8")).toBe("2");
    expect(await readdir(folder)).toEqual(["a.json"]);
  });

  test("a file that was created meanwhile is not overwritten", async () => {
    const name = join(folder, "a.json");
    const file = await readConfigFile(name);
    await writeFile(name, "2");
    await expect(replaceConfigFile(file, "3", now)).rejects.toThrow("was changed by another program meanwhile");
  });

  test("a file made read-only is not replaced behind its user's back", async () => {
    const name = join(folder, "a.json");
    await writeFile(name, "1");
    await chmod(name, 0o444);
    await expect(assertWritable(await readConfigFile(name))).rejects.toThrow(`${name} is read-only`);
  });

  test("a folder that can't be created is reported by name", async () => {
    await writeFile(join(folder, "file"), "");
    const name = join(folder, "file", "a.json");
    await expect(readConfigFile(name).then((file) => replaceConfigFile(file, "1", now))).rejects.toThrow(name);
  });
});

describe("restoring", () => {
  test("gives back the bytes and takes the backup away", async () => {
    const name = join(folder, "a.json");
    await writeFile(name, "\uFEFFbefore\r\n");
    const file = await readConfigFile(name);
    const backup = await replaceConfigFile(file, "after", now);
    await restoreConfigFile(file, "after", backup);
    expect(await readFile(name, "utf8")).toBe("\uFEFFbefore\r\n");
    expect(await readdir(folder)).toEqual(["a.json"]);
  });

  test("deletes a file that setup created", async () => {
    const name = join(folder, "a.json");
    const file = await readConfigFile(name);
    await replaceConfigFile(file, "after", now);
    await restoreConfigFile(file, "after", undefined);
    expect(await readdir(folder)).toEqual([]);
  });

  test("keeps a file that another program wrote meanwhile", async () => {
    const name = join(folder, "a.json");
    await writeFile(name, "before");
    const file = await readConfigFile(name);
    const backup = await replaceConfigFile(file, "after", now);
    await writeFile(name, "theirs");
    await expect(restoreConfigFile(file, "after", backup)).rejects.toThrow("was changed by another program meanwhile");
    expect(await readFile(name, "utf8")).toBe("theirs");
  });
});
