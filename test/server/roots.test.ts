import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { allowedRoots, foldersOfUris, projectMarkers } from "../../src/server/files/allowed-paths.ts";

let base = "";
let homeDirectory = "";
let project = "";
const logged: string[] = [];
const log = createLog("warn", (line) => logged.push(line));

beforeEach(async () => {
  base = await realpath(await mkdtemp(path.join(tmpdir(), "ollm-roots-")));
  homeDirectory = path.join(base, "home");
  project = path.join(homeDirectory, "project");
  await mkdir(project, { recursive: true });
  logged.length = 0;
});

afterEach(async () => rm(base, { recursive: true, force: true }));

const roots = (
  workingDirectory: string,
  given: { readonly configured?: readonly string[]; readonly client?: readonly string[] } = {},
) => allowedRoots({ workingDirectory, homeDirectory }, given.configured ?? [], given.client ?? [], log);

describe("allowedRoots", () => {
  it.each(projectMarkers)("takes a working directory with %s", async (marker) => {
    await writeFile(path.join(project, marker), "");
    expect(await roots(project)).toEqual({ folders: [project], workingDirectory: project });
  });

  it("takes no working directory without a marker", async () => {
    expect(await roots(project)).toEqual({ folders: [] });
  });

  it("never takes a home folder, what is above it, or a whole disk as the working directory, marked or not", async () => {
    await mkdir(path.join(homeDirectory, ".git"));
    await mkdir(path.join(base, ".git"));
    expect(await roots(homeDirectory)).toEqual({ folders: [] });
    expect(await roots(base)).toEqual({ folders: [] });
    expect(await roots(path.parse(base).root)).toEqual({ folders: [] });
  });

  it("never takes them from a client either, but takes its projects", async () => {
    expect(await roots("/", { client: [homeDirectory, path.parse(base).root, project] })).toEqual({
      folders: [project],
    });
  });

  it("takes configured folders, the home folder included", async () => {
    expect(await roots("/", { configured: [homeDirectory, "~/project"] })).toEqual({
      folders: [homeDirectory, project],
    });
  });

  it("resolves links, so that a link to the home folder is no way around", async () => {
    await mkdir(path.join(homeDirectory, ".git"));
    const link = path.join(base, "link");
    await symlink(homeDirectory, link);
    expect(await roots(link, { client: [link] })).toEqual({ folders: [] });
  });

  it("warns of a configured folder that is not there", async () => {
    expect(await roots("/", { configured: [path.join(base, "none")] })).toEqual({ folders: [] });
    expect(logged).toEqual([`ollm warn: files.roots: ${path.join(base, "none")} is not a folder`]);
  });
});

describe("foldersOfUris", () => {
  it("takes file URIs, decoded, and nothing else", () => {
    const folder = path.join(base, "with space");
    expect(foldersOfUris([pathToFileURL(folder).href, "https://example.com/x", "nonsense"])).toEqual([folder]);
  });
});
