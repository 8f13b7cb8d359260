import { spawn, spawnSync } from "node:child_process";
import { chmod, chown, cp, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { type Server, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runFolder } from "../../src/ipc/run-folder.ts";
import { builtCommand, initialize, serverEnvironment } from "../support/stdio-client.ts";

/** Two users of this machine that no account needs: only root can become both. */
const [victim, attacker] = [40_001, 40_002];

const whyNot = ((): string | undefined => {
  if (process.getuid?.() !== 0) return "only root can run programs as two other users";
  const { status } = spawnSync(process.execPath, ["--version"], { uid: victim, gid: victim });
  return status === 0 ? undefined : "another user can't start this Node";
})();

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

let folder = "";
let home = "";
let script = "";
let build = "";
let environment: Record<string, string> = {};
/** What planted code writes when it runs. */
let proof = "";
let knocks = 0;
let trap: Server;

beforeEach(async () => {
  if (whyNot !== undefined) return;
  folder = await mkdtemp(path.join(tmpdir(), "ollm-foreign-"));
  await chmod(folder, 0o755);
  script = path.join(folder, "dist", "cli.mjs");
  await cp(path.dirname(builtCommand), path.dirname(script), { recursive: true });
  const user = path.join(folder, "victim");
  await mkdir(user, { mode: 0o700 });
  await chown(user, victim, victim);
  home = path.join(user, "home");
  environment = serverEnvironment({ HOME: user, OLLM_HOME: home, OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" });
  build = /"(\d+\.\d+\.\d+\+[0-9a-f]+)"/.exec(await readFile(script, "utf8"))?.[1] ?? "";
  const writable = path.join(folder, "proof");
  await mkdir(writable);
  await chmod(writable, 0o777);
  proof = path.join(writable, "ran");
  knocks = 0;
  trap = createServer((socket) => {
    knocks += 1;
    socket.destroy();
  });
});

afterEach(async () => {
  if (whyNot !== undefined) return;
  trap.close();
  await run(["daemon", "stop"]);
  await rm(folder, { recursive: true, force: true });
});

/** Runs the command as the victim; `input` is all that it reads. */
function run(args: readonly string[], input = ""): Promise<Ran> {
  const child = spawn(process.execPath, [script, ...args], { env: environment, uid: victim, gid: victim, cwd: folder });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => (out += String(chunk)));
  child.stderr.on("data", (chunk) => (err += String(chunk)));
  child.stdin.end(input);
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, out, err })));
}

const front = () => run([], `${JSON.stringify(initialize)}\n`);

/** A home with everything in it that was once run, obeyed or connected to, made by `uid`. */
async function plant(uid: number, at = home): Promise<void> {
  const copy = path.join(runFolder(at), build);
  await mkdir(copy, { recursive: true });
  const payload = `require("fs").writeFileSync(${JSON.stringify(proof)}, "x")`;
  await writeFile(
    path.join(copy, "cli.mjs"),
    `process.getBuiltinModule("fs").writeFileSync(${JSON.stringify(proof)}, "x");\n`,
  );
  await writeFile(path.join(copy, `front-${process.version}-${process.arch}.code`), payload);
  await writeFile(path.join(at, "config.yaml"), "no_such_setting: planted\n");
  const socket = path.join(folder, "trap.sock");
  await new Promise<void>((resolve) => trap.listen(socket, resolve));
  await chmod(socket, 0o777);
  await writeFile(path.join(runFolder(at), "token"), `${"a".repeat(64)}\n`);
  const claim = { generation: 1, socket, pid: 1, version: build, home: at, startedAt: new Date().toISOString() };
  await writeFile(
    path.join(runFolder(at), "daemon.1.json"),
    JSON.stringify({ ...claim, isStandalone: false, deaths: [] }),
  );
  for (const entry of await readdir(at, { recursive: true })) await chown(path.join(at, entry), uid, uid);
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  );

async function expectRefused(what: RegExp): Promise<void> {
  const answered = await front();
  expect(JSON.parse(answered.out.split("\n")[0] ?? "")).toMatchObject({
    id: 0,
    error: { message: expect.stringMatching(what) },
  });
  for (const args of [
    ["--standalone"],
    ["daemon", "run"],
    ["config", "get", "log.level"],
    ["config", "set", "log.level", "debug"],
    ["daemon", "start"],
    ["daemon", "status"],
    ["token", "rotate"],
    ["models"],
  ]) {
    const { code, out, err } = await run(args, `${JSON.stringify(initialize)}\n`);
    expect({ args, code, out }).toEqual({ args, code: 1, out: "" });
    expect(err).toMatch(what);
    expect(err).not.toContain("no_such_setting");
  }
  const doctor = await run(["doctor"]);
  expect(doctor.code).toBe(1);
  expect(doctor.out).toMatch(what);
  expect(doctor.out).not.toContain("no_such_setting");
  expect({ hasRun: await exists(proof), knocks }).toEqual({ hasRun: false, knocks: 0 });
}

describe.skipIf(whyNot !== undefined)(
  `a home that another user made${whyNot === undefined ? "" : ` (skipped: ${whyNot})`}`,
  () => {
    it("is refused by every way in: nothing of it is run, obeyed or connected to", async () => {
      await mkdir(home, { mode: 0o755 });
      await plant(attacker);
      for (const entry of [home, ...(await readdir(home, { recursive: true })).map((name) => path.join(home, name))]) {
        await chown(entry, attacker, attacker);
        await chmod(entry, 0o777);
      }
      await expectRefused(
        new RegExp(`home belongs to another user \\(uid ${attacker}\\).*[\\s\\S]*sudo chown -R ${victim} `),
      );
    });

    it("is refused although it is ours, when others could write to it and one did", async () => {
      await mkdir(home);
      await chmod(home, 0o777);
      await chown(home, victim, victim);
      await plant(attacker);
      await expectRefused(new RegExp(`belongs to another user \\(uid ${attacker}\\), so nothing in .*home is used`));
      expect((await stat(home)).mode & 0o777).toBe(0o700);
    });

    it("is rejected by every entry point, with the command that fixes it, for one file of another user in a part that only the daemon runs", async () => {
      const deep = path.join(home, "engines", "any");
      await mkdir(home, { mode: 0o700 });
      await mkdir(deep, { recursive: true });
      for (const entry of [home, path.join(home, "engines"), deep]) await chown(entry, victim, victim);
      const file = path.join(deep, "index.js");
      await writeFile(file, "");
      await chown(file, attacker, attacker);
      const what = new RegExp(`index\\.js belongs to another user \\(uid ${attacker}\\)[\\s\\S]*chown -R ${victim} `);
      const answered = await front();
      expect(JSON.parse(answered.out)).toMatchObject({ id: 0, error: { message: expect.stringMatching(what) } });
      expect(answered.err.match(/belongs to another user/g)).toHaveLength(1);
      for (const args of [["--standalone"], ["daemon", "start"], ["models"]]) {
        const { code, err } = await run(args, `${JSON.stringify(initialize)}\n`);
        expect({ args, code }).toEqual({ args, code: 1 });
        expect(err).toMatch(what);
      }
      const doctor = await run(["doctor"]);
      expect(doctor.code).toBe(1);
      expect(doctor.out).toMatch(what);
    });

    it("is refused in a folder where another user could put another in its place", async () => {
      const parent = path.join(folder, "open");
      await mkdir(parent);
      await chmod(parent, 0o777);
      home = path.join(parent, "home");
      environment["OLLM_HOME"] = home;
      await mkdir(home, { mode: 0o700 });
      await chown(home, victim, victim);
      await plant(victim);
      await expectRefused(/open can be written by other users \(mode 777\), who could replace .*[\s\S]*chmod o-w /);
      // With the bit that keeps others from renaming it is what /tmp is. The claim and the copy are not the victim's own.
      await chmod(parent, 0o1777);
      await rm(path.join(home, "config.yaml"));
      await rm(path.join(runFolder(home), "daemon.1.json"));
      const answered = await front();
      expect(JSON.parse(answered.out)).toMatchObject({ id: 0, result: { serverInfo: { name: "ollm-mcp" } } });
      expect(await exists(proof)).toBe(false);
    });

    it("serves once it is fixed as the error says", async () => {
      await mkdir(home);
      await chown(home, attacker, attacker);
      const { err } = await run(["config", "get", "log.level"]);
      const command = /run `(?:sudo )?(chown -R \d+ [^`]+)`/.exec(err)?.[1] ?? "";
      expect(spawnSync("sh", ["-c", command]).status).toBe(0);
      expect(await run(["config", "get", "log.level"])).toMatchObject({ code: 0, err: "" });
    });
  },
);

describe.skipIf(process.platform === "win32")("the daemon's copy of the program", () => {
  it("is compared with the program that starts it, and replaced before it runs", async () => {
    const own = await mkdtemp(path.join(tmpdir(), "ollm-copy-"));
    try {
      const at = path.join(own, "home");
      const env = serverEnvironment({ HOME: own, OLLM_HOME: at, OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" });
      const ollm = (...args: string[]) =>
        spawnSync(process.execPath, [builtCommand, ...args], { env, encoding: "utf8" });
      expect(ollm("daemon", "start").status).toBe(0);
      expect(ollm("daemon", "stop").status).toBe(0);
      const [name = ""] = (await readdir(runFolder(at))).filter((entry) => /^\d+\.\d+\.\d+/.test(entry));
      const copy = path.join(runFolder(at), name);
      const ran = path.join(own, "ran");
      const planted = `process.getBuiltinModule("fs").writeFileSync(${JSON.stringify(ran)}, "x");\n`;
      const cli = await readFile(path.join(copy, "cli.mjs"), "utf8");
      await writeFile(path.join(copy, "cli.mjs"), planted + cli);
      await rename(path.join(copy, "commands.mjs"), path.join(copy, "more.mjs"));
      expect(ollm("daemon", "start").status).toBe(0);
      expect(ollm("daemon", "stop").status).toBe(0);
      expect(await exists(ran)).toBe(false);
      expect(await readFile(path.join(copy, "cli.mjs"), "utf8")).toBe(cli);
      expect(await readdir(copy)).not.toContain("more.mjs");
    } finally {
      await rm(own, { recursive: true, force: true });
    }
  });
});
