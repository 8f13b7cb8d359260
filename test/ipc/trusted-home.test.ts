import { describe, expect, it } from "vitest";
import { judgeHome } from "../../src/ipc/trusted-home.ts";
import { commandSteps } from "../../src/next-steps/commands.ts";
import { renderSteps } from "../../src/next-steps/render.ts";

type HomeSystem = Parameters<typeof judgeHome>[2];

type PathFacts = NonNullable<ReturnType<HomeSystem["look"]>>;

const me = 1000;
const other = 1001;

type Kind = { uid?: number; gid?: number; mode?: number; link?: string; isFile?: boolean };

const folderOf = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";

/** A file system: folders belong to root (0755) unless specified; `closed` collects closed folders. */
function disk(places: Readonly<Record<string, Kind>>, more: Partial<HomeSystem> = {}) {
  const closed: string[] = [];
  const all: Record<string, Kind> = { "/": {}, ...places };
  for (const path of Object.keys(places)) {
    for (let up = folderOf(path); all[up] === undefined; up = folderOf(up)) all[up] = {};
  }
  const system: HomeSystem = {
    uid: me,
    gid: me,
    unmappedRootUid: undefined,
    look(path): PathFacts | undefined {
      const found = all[path];
      if (found === undefined) return undefined;
      const { uid = 0, gid = uid, mode = 0o755, link, isFile } = found;
      return { uid, gid, mode, kind: link !== undefined ? "link" : isFile === true ? "other" : "folder" };
    },
    readLink: (path) => all[path]?.link,
    list: (folder) =>
      Object.keys(all)
        .filter((path) => path !== "/" && folderOf(path) === folder)
        .map((path) => path.slice(path.lastIndexOf("/") + 1)),
    close(folder) {
      closed.push(folder);
      all[folder] = { ...all[folder], mode: 0o700 };
    },
    ...more,
  };
  return { system, closed };
}

const mine = { uid: me, mode: 0o700 } as const;
const myFile = { uid: me, mode: 0o600, isFile: true } as const;

function textOf(places: Readonly<Record<string, Kind>>, home = "/home/me/.ollm", more: Partial<HomeSystem> = {}) {
  const problem = judgeHome(home, {}, disk(places, more).system);
  return problem === undefined ? undefined : `${problem.message}\n${renderSteps(problem.next, commandSteps)}`;
}

describe("a home is trusted", () => {
  const usual = { "/home/me": mine, "/home/me/.ollm": mine, "/home/me/.ollm/config.yaml": myFile };
  it.each<[string, Readonly<Record<string, Kind>>, (string | undefined)?, Partial<HomeSystem>?]>([
    ["that only its user can access", usual],
    ["that doesn't exist yet", { "/home/me": mine }],
    [
      "that isn't a folder and so can't be used anyway",
      { "/home/me": mine, "/home/me/.ollm": { ...myFile, uid: other } },
    ],
    ["in a sticky folder of root", { "/tmp": { mode: 0o1777 }, "/tmp/x": mine }, "/tmp/x"],
    [
      "below a folder of the user's own group",
      { "/data": { uid: me, mode: 0o2775 }, "/data/ollm": mine },
      "/data/ollm",
    ],
    ["below a folder of root's group", { "/app": { mode: 0o775 }, "/app/ollm": mine }, "/app/ollm"],
    [
      "whose models are another user's, mounted or behind a link",
      {
        ...usual,
        "/home/me/.ollm/models": { uid: other },
        "/home/me/.ollm/templates": { uid: me, link: "/srv" },
        "/srv/x.md": { uid: other, isFile: true },
      },
    ],
    ["with files of root, from a run with sudo", { ...usual, "/home/me/.ollm/run": { uid: 0 } }],
    ["of root that others can't write to, as in an image", { "/app/ollm": { mode: 0o755 } }, "/app/ollm"],
    [
      "behind links of ours and root's",
      { ...usual, "/l": { link: "m" }, "/m": { uid: me, link: "/home/me/./x/../.ollm" }, "/home/me/x": mine },
      "/l",
    ],
    [
      "in a sandbox, where root's folders show the overflow id",
      { ...usual, "/home": { uid: 65534 } },
      undefined,
      { unmappedRootUid: 65534 },
    ],
  ])("%s", (_, places, home, more) => {
    expect(textOf(places, home, more)).toBeUndefined();
  });
});

describe("a home is refused with its correction", () => {
  const own = { "/home/me": mine } as const;
  it.each<[string, Readonly<Record<string, Kind>>, string, (string | undefined)?, Partial<HomeSystem>?]>([
    [
      "of another user",
      { ...own, "/home/me/.ollm": { uid: other, mode: 0o700 } },
      "/home/me/.ollm belongs to another user (uid 1001), so nothing in it is used\nSet OLLM_HOME to a folder of your own, or if you know everything in it, run `sudo chown -R 1000 /home/me/.ollm`.",
    ],
    [
      "of another user, to root too",
      { "/home/me": { mode: 0o700 }, "/home/me/.ollm": { uid: other } },
      "run `chown -R 0 /home/me/.ollm`",
      undefined,
      { uid: 0, gid: 0 },
    ],
    [
      "of root that all may write to",
      { "/data/ollm": { mode: 0o777 } },
      "/data/ollm belongs to root and can be written by other users (mode 777)\nRun `sudo chown -R 1000 /data/ollm`, or set OLLM_HOME to a folder of your own.",
      "/data/ollm",
    ],
    [
      "that doesn't exist yet, behind a link of another user",
      { "/tmp": { mode: 0o1777 }, "/tmp/x": { uid: other, link: "/home/other/x" } },
      "/tmp/x belongs to another user (uid 1001), who could replace /tmp/x",
      "/tmp/x",
    ],
    [
      "that doesn't exist yet, in a folder that all may write to",
      { "/data": { mode: 0o777 } },
      "/data can be written by other users (mode 777), who could replace /data/ollm\nRun `sudo chmod o-w /data`, or set OLLM_HOME to a folder below your own home folder.",
      "/data/ollm",
    ],
    [
      "with a file of another user",
      { ...own, "/home/me/.ollm": mine, "/home/me/.ollm/config.yaml": { uid: other, isFile: true } },
      "/home/me/.ollm/config.yaml belongs to another user (uid 1001), so nothing in /home/me/.ollm is used\nDelete it, or if you know what is in it, run `sudo chown -R 1000 /home/me/.ollm/config.yaml`.",
    ],
    [
      "with a link of another user",
      { ...own, "/home/me/.ollm": mine, "/home/me/.ollm/config.yaml": { uid: other, link: "/home/me/notes" } },
      "config.yaml belongs to another user",
    ],
    [
      "with a claim of another user",
      {
        ...own,
        "/home/me/.ollm": mine,
        "/home/me/.ollm/run": mine,
        "/home/me/.ollm/run/daemon.1.json": { uid: other, isFile: true },
      },
      "run/daemon.1.json belongs to another user",
    ],
    [
      "that was open, with something of another user deep in it",
      {
        ...own,
        "/home/me/.ollm": { uid: me, mode: 0o755 },
        "/home/me/.ollm/engines": mine,
        "/home/me/.ollm/engines/a": mine,
        "/home/me/.ollm/engines/a/b.mjs": { uid: other, isFile: true },
      },
      "engines/a/b.mjs belongs to another user (uid 1001), so nothing in /home/me/.ollm is used, which others could enter until now",
    ],
    [
      "whose run folder is in a folder of another user",
      {
        ...own,
        "/home/me/.ollm": mine,
        "/home/me/.ollm/run": { uid: me, link: "/srv/run" },
        "/srv/run": { uid: other, mode: 0o700 },
      },
      "/srv/run belongs to another user",
    ],
    [
      "in a folder that all may write to",
      { "/tmp/x": { uid: me, mode: 0o777 }, "/tmp/x/home": mine },
      "/tmp/x can be written by other users (mode 777), who could replace /tmp/x/home\nRun `chmod o-w /tmp/x`,",
      "/tmp/x/home",
    ],
    [
      "in a folder that a shared group may write to",
      { "/srv/it's": { gid: 50, mode: 0o775 }, "/srv/it's/home": mine },
      "Run `sudo chmod go-w '/srv/it'\\''s'`, or set OLLM_HOME",
      "/srv/it's/home",
    ],
    [
      "in a sticky folder of another user, who may rename in it",
      { "/srv": { uid: other, mode: 0o1777 }, "/srv/home": mine },
      "/srv belongs to another user (uid 1001), who could replace /srv/home",
      "/srv/home",
    ],
    [
      "behind a link of another user",
      { ...own, "/home/me/.ollm": mine, "/tmp/l": { uid: other, link: "/home/me/.ollm" } },
      "/tmp/l belongs to another user",
      "/tmp/l",
    ],
    [
      "of the user that has the overflow id, outside a sandbox",
      { ...own, "/home/me/.ollm": { uid: 65534 } },
      "belongs to another user (uid 65534)",
    ],
  ])("%s", (_, places, expected, home, more) => {
    expect(textOf(places, home, more)).toContain(expected);
  });

  it("that is shared by all users, whom closing would lock out", () => {
    for (const [home, places] of [
      ["/", {}],
      ["/tmp", { "/tmp": { mode: 0o1777 } }],
    ] as const) {
      const { system, closed } = disk(places, { uid: 0, gid: 0 });
      expect(judgeHome(home, {}, system)?.message).toContain(`${home} is shared by all users`);
      expect(closed).toEqual([]);
    }
  });

  it("when others can write to it and it may not be closed: the doctor changes nothing", () => {
    const { system, closed } = disk({ "/home/me": mine, "/home/me/.ollm": { uid: me, mode: 0o777 } });
    expect(judgeHome("/home/me/.ollm", { closes: false }, system)).toMatchObject({
      next: [{ step: "advice", text: "run `chmod 700 /home/me/.ollm`" }],
    });
    expect(closed).toEqual([]);
  });
});

describe("a home of ours that others may enter", () => {
  const home = "/home/me/.ollm";
  const open = {
    "/home/me": mine,
    [home]: { uid: me, mode: 0o777 },
    [`${home}/run`]: { uid: me, mode: 0o777 },
    [`${home}/models`]: { uid: me, mode: 0o755 },
  };

  it("is closed before it is searched, with those of its folders that others could continue to write to", () => {
    const { system, closed } = disk(open);
    const listed: string[] = [];
    const list = (folder: string) => {
      listed.push(`${folder} after ${closed.length}`);
      return system.list(folder);
    };
    expect(judgeHome(home, {}, { ...system, list })).toBeUndefined();
    expect(closed).toEqual([home, `${home}/run`]);
    expect(listed).toEqual([`${home} after 1`, `${home}/run after 2`, `${home}/models after 2`]);
  });

  it("is searched even on a read-only disk", () => {
    const close = (): never => {
      throw new Error("EROFS");
    };
    expect(judgeHome(home, {}, disk(open, { close }).system)).toBeUndefined();
    const planted = { ...open, [`${home}/models/x`]: { uid: other, isFile: true } };
    expect(judgeHome(home, {}, disk(planted, { close }).system)?.message).toContain("models/x belongs to another");
  });
});

it("every file of a home is checked on request, otherwise only the home's own and those in run", () => {
  const home = "/home/me/.ollm";
  const { system } = disk({
    "/home/me": mine,
    [home]: mine,
    [`${home}/templates`]: mine,
    [`${home}/templates/x.md`]: { uid: other, isFile: true },
  });
  expect(judgeHome(home, {}, system)).toBeUndefined();
  expect(judgeHome(home, { isWhole: true }, system)?.message).toContain("templates/x.md belongs to another user");
});

it("circular links are not a home", () => {
  expect(textOf({ "/a": { link: "/b" }, "/b": { link: "/a" } }, "/a")).toBeUndefined();
});
