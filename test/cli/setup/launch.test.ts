import { describe, expect, test } from "vitest";
import { allowedFolders, createLaunch, entryChanges, isOurEntry } from "../../../src/cli/setup/launch.ts";

const program = { node: "/usr/bin/node", script: "/opt/ollm/dist/cli.mjs" };

describe("a launch", () => {
  test("names node and script absolutely, and each folder", () => {
    expect(createLaunch(program, ["/a", "/b"], undefined)).toEqual({
      command: "/usr/bin/node",
      args: ["/opt/ollm/dist/cli.mjs", "--root", "/a", "--root", "/b"],
    });
  });

  test("carries the home when it is not the default", () => {
    expect(createLaunch({ ...program, home: "/data" }, [], undefined).env).toEqual({ OLLM_HOME: "/data" });
  });

  test("keeps the variables that the user wrote, but for an old home", () => {
    const existing = { command: "ollm", args: [], env: { OLLAMA_HOST: "x", OLLM_HOME: "/old", odd: 1 } };
    expect(createLaunch(program, undefined, existing).env).toEqual({ OLLAMA_HOST: "x" });
    expect(createLaunch({ ...program, home: "/new" }, undefined, existing).env).toEqual({
      OLLAMA_HOST: "x",
      OLLM_HOME: "/new",
    });
  });

  test.each([
    [{ command: "/old/node", args: ["/old/cli.mjs", "--root", "/a", "--model", "m"] }],
    [{ command: "npx", args: ["-y", "ollm-mcp@latest", "--root=/a", "--model", "m"] }],
    [{ command: "ollm", args: ["--root", "/a", "--model", "m"] }],
    [{ command: "C:\\npm\\ollm.cmd", args: ["--root", "/a", "--model", "m"] }],
  ])("of an upgrade keeps the flags of %j", (existing) => {
    expect(createLaunch(program, undefined, existing).args.slice(1)).toEqual(["--root", "/a", "--model", "m"]);
    expect(createLaunch(program, ["/new"], existing).args.slice(1)).toEqual([
      "--root",
      "/a",
      "--root",
      "/new",
      "--model",
      "m",
    ]);
    expect(allowedFolders(existing)).toEqual(["/a"]);
  });
});

test.each([
  [{ command: "node", args: ["server.js"] }, false],
  [{ url: "http://127.0.0.1:7411/mcp" }, false],
  [{ command: "python", args: ["-m", "ollm_other"] }, false],
  [{ command: "npx", args: ["-y", "ollm-mcp"] }, true],
  [{ command: "node", args: ["C:\\x\\cli.mjs"] }, true],
])("%j is ours: %s", (entry, isOurs) => {
  expect(isOurEntry(entry)).toBe(isOurs);
});

describe("changes of an entry", () => {
  const launch = createLaunch({ ...program, home: "/data" }, ["/a"], undefined);

  test("are none when it starts the same", () => {
    expect(
      entryChanges({ ...launch, type: "stdio", disabled: true, env: { ...launch.env, MINE: "1" } }, launch, {
        ...launch,
      }),
    ).toEqual({});
  });

  test("touch command, arguments and our variable alone", () => {
    const existing = { command: "/old", args: ["/old/cli.mjs"], env: { MINE: "1", OLLM_HOME: "/elsewhere" } };
    expect(entryChanges(existing, launch, { ...launch })).toEqual({
      command: launch.command,
      args: launch.args,
      env: { MINE: "1", OLLM_HOME: "/data" },
    });
  });

  test("take the home out when it is the default again", () => {
    const { env: _env, ...plain } = launch;
    expect(entryChanges({ ...launch }, plain, { ...plain })).toEqual({ env: undefined });
    expect(entryChanges({ ...launch, env: { ...launch.env, MINE: "1" } }, plain, { ...plain })).toEqual({
      env: { MINE: "1" },
    });
  });
});
