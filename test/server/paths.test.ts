import path from "node:path";
import { isInside, isTooBroad } from "../../src/orchestrator/util/file-name.ts";
import { describe, expect, it } from "vitest";
import { isForeignShare, nameInRoots, unusableName } from "../../src/server/files/allowed-paths.ts";

describe("isInside", () => {
  it.each([
    ["/data/a", "/data/a", true],
    ["/data/a", "/data/a/b/c.txt", true],
    ["/data/a", "/data/a/..b", true],
    ["/data/a", "/data/ab/c.txt", false],
    ["/data/a", "/work", false],
    ["/data/a", "/data/a/../b", false],
    ["/", "/etc/passwd", true],
  ])("POSIX: %s holds %s: %s", (folder, file, expected) => {
    expect(isInside(folder, file, path.posix)).toBe(expected);
  });

  it.each([
    ["C:\\work\\a", "C:\\work\\a\\b.txt", true],
    ["C:\\Work\\A", "c:\\work\\a\\B.TXT", true],
    ["C:\\work\\a", "C:\\work\\ab\\b.txt", false],
    ["C:\\work", "D:\\work\\b.txt", false],
    ["C:\\work", "\\\\server\\share\\b.txt", false],
    ["\\\\server\\share\\work", "\\\\server\\share\\work\\b.txt", true],
    ["\\\\server\\share\\work", "\\\\server\\other\\work\\b.txt", false],
    ["C:\\", "C:\\Windows\\system.ini", true],
  ])("Windows: %s holds %s: %s", (folder, file, expected) => {
    expect(isInside(folder, file, path.win32)).toBe(expected);
  });
});

describe("isTooBroad", () => {
  it.each([
    ["/", "/home/ann", path.posix, true],
    ["/home", "/home/ann", path.posix, true],
    ["/home/ann", "/home/ann", path.posix, true],
    ["/home/ann/project", "/home/ann", path.posix, false],
    ["/home/anna", "/home/ann", path.posix, false],
    ["C:\\", "D:\\Users\\Ann", path.win32, true],
    ["C:\\Users", "C:\\Users\\Ann", path.win32, true],
    ["c:\\users\\ann", "C:\\Users\\Ann", path.win32, true],
    ["C:\\Users\\Ann\\project", "C:\\Users\\Ann", path.win32, false],
    ["\\\\server\\share\\", "C:\\Users\\Ann", path.win32, true],
  ])("%s for home %s", (folder, home, platform, expected) => {
    expect(isTooBroad(folder, home, platform)).toBe(expected);
  });
});

describe("isForeignShare", () => {
  it.each([
    ["\\\\evil\\share\\a.txt", ["C:\\work"], path.win32, true],
    ["//evil/share/a.txt", ["C:\\work"], path.win32, true],
    ["\\\\evil@80\\share\\a.txt", ["\\\\server\\share\\work"], path.win32, true],
    ["\\\\SERVER\\Share\\other\\a.txt", ["\\\\server\\share\\work"], path.win32, false],
    ["C:\\other\\a.txt", ["D:\\work"], path.win32, false],
    ["\\a.txt", ["C:\\work"], path.win32, false],
    ["//evil/share/a.txt", ["/work"], path.posix, false],
  ])("%s beside %j", (file, folders, platform, expected) => {
    expect(isForeignShare(file, folders, platform)).toBe(expected);
  });
});

describe("unusableName", () => {
  it.each(["C:\\work\\notes.txt", "notes.txt", "sub/notes.txt", "console.log", "com10.txt", "auxiliary\\a.txt"])(
    "Windows takes %s",
    (name) => {
      expect(unusableName(name, path.win32)).toBeUndefined();
    },
  );

  it.each([
    ["\\\\.\\pipe\\ollm", "is a device path"],
    ["//./PhysicalDrive0", "is a device path"],
    ["\\\\?\\C:\\work\\a.txt", "is a device path"],
    ["C:\\work\\a.txt:hidden", "names an alternate data stream"],
    ["a.txt::$DATA", "names an alternate data stream"],
    ["CON", "names the device CON"],
    ["sub\\nul.txt", "names the device nul.txt"],
    ["lpt1", "names the device lpt1"],
    ["COM¹.log", "names the device COM¹.log"],
  ])("Windows refuses %s", (name, problem) => {
    expect(unusableName(name, path.win32)).toBe(problem);
  });

  it("POSIX knows no such names, but no NUL either", () => {
    expect(unusableName("CON:a|b", path.posix)).toBeUndefined();
    expect(unusableName("a\0.txt", path.posix)).toBe("contains a NUL character");
  });
});

describe("nameInRoots", () => {
  it.each([
    ["/work/a/src/x.ts", ["/work/a"], "src/x.ts"],
    ["/work/a/src/x.ts", ["/work/a", "/work/a/src"], "src/x.ts"],
    ["/work/a/src/x.ts", ["/work/a", "/work/b"], "a/src/x.ts"],
    ["/work/a/x.ts", ["/work/a", "/home/a"], "work/a/x.ts"],
    // "b" alone would begin names of the other root's "b", too.
    ["/b/x.ts", ["/b", "/a/b", "/z/a"], "b/x.ts"],
    ["/a/b/x.ts", ["/b", "/a/b", "/z/a"], "a/b/x.ts"],
    ["/z/a/b/x.ts", ["/b", "/a/b", "/z/a"], "z/a/b/x.ts"],
    ["/etc/hosts", ["/"], "etc/hosts"],
  ])("POSIX: %s of %j is %s", (file, roots, expected) => {
    expect(nameInRoots(file, roots, path.posix)).toBe(expected);
  });

  it.each([
    ["C:\\work\\a\\src\\x.ts", ["C:\\work\\a"], "src/x.ts"],
    ["C:\\work\\a\\x.ts", ["C:\\work\\a", "D:\\work\\a"], "C:/work/a/x.ts"],
    ["\\\\server\\share\\a\\x.ts", ["\\\\server\\share\\a", "C:\\b"], "a/x.ts"],
  ])("Windows: %s of %j is %s", (file, roots, expected) => {
    expect(nameInRoots(file, roots, path.win32)).toBe(expected);
  });
});
