import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, parse } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkFolders } from "../../../src/cli/setup/launch.ts";

let userHome: string;
const check = (...given: readonly string[]) =>
  checkFolders(given, { userHome, workingDirectory: join(userHome, "work") });

beforeEach(async () => {
  userHome = await mkdtemp(join(tmpdir(), "ollm-folders-"));
  for (const name of ["Documents", "work/notes", "a,b"]) await mkdir(join(userHome, name), { recursive: true });
  await writeFile(join(userHome, "file"), "");
});
afterEach(async () => {
  await rm(userHome, { recursive: true, force: true });
});

test("folders are made absolute: the home's ~, the working directory, commas, each once", () => {
  expect(check("~/Documents, notes", "notes")).toEqual([join(userHome, "Documents"), join(userHome, "work", "notes")]);
});

test("an empty text, such as an unset variable leaves, is refused", () => {
  for (const empty of ["", " "]) expect(() => check("~/Documents", empty)).toThrow("an unset variable?");
});

test("a comma in a folder's name is not a separator", () => {
  expect(check("~/a,b")).toEqual([join(userHome, "a,b")]);
});

test("what is missing or a file is refused by name", () => {
  expect(() => check("~/nowhere")).toThrow("~/nowhere is not a folder");
  expect(() => check("~/file")).toThrow("~/file is not a folder");
});

test("never the home, what is above it, or a drive", () => {
  for (const broad of ["~", userHome, `${userHome}/`, dirname(userHome), parse(userHome).root, "~/Documents/.."]) {
    expect(() => check(broad)).toThrow("too much to allow");
  }
});
