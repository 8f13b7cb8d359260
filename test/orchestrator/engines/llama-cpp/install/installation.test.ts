import { once } from "node:events";
import { chmod, mkdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { engineVersion } from "../../../../../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { enginePackages, type ArchiveEntry, type FakePackage } from "../../../../support/fake-npm-registry.ts";
import { eager, folderName, impatient, installFixture, messageOf, type InstallFixture } from "./install-fixture.ts";

let fixture: InstallFixture | undefined;
const start = async (packages?: readonly FakePackage[]): Promise<InstallFixture> => {
  fixture = await installFixture(packages);
  return fixture;
};
afterEach(async () => {
  await fixture?.close();
  fixture = undefined;
});

const withEntry = (entry: ArchiveEntry): readonly FakePackage[] =>
  enginePackages().map((found) => (found.name === "ms" ? { ...found, entries: [...found.entries, entry] } : found));

describe("an installation", () => {
  test("unpacks every package of the lock at its path, without unused files", async () => {
    const { install, enginesFolder, registry, leftovers } = await start();
    const engine = await install();
    const folder = join(enginesFolder, folderName);
    expect(engine.folder).toBe(folder);
    expect(await engine.isInstalled()).toBe(true);
    expect(await engine.modulePath()).toBe(join(folder, "node_modules", "node-llama-cpp", "dist", "index.js"));
    expect(await readFile(join(folder, "node_modules/debug/node_modules/ms/index.js"), "utf8")).toBe(
      "module.exports = 1;",
    );
    await expect(readFile(join(folder, "node_modules/node-llama-cpp/llama/gitRelease.bundle"))).rejects.toThrow(
      "ENOENT",
    );
    await expect(readFile(join(folder, "node_modules/node-llama-cpp/dist/index.d.ts"))).rejects.toThrow("ENOENT");
    expect(await leftovers()).toEqual([folderName]);
    expect(registry.asked.toSorted()).toEqual(["@node-llama-cpp/linux-x64", "ms", "node-llama-cpp"]);
  });

  test("reports the sizes first, then growing bytes up to the total", async () => {
    const { install, reports, registry } = await start();
    registry.misbehave("node-llama-cpp", "cut");
    const engine = await install();
    const total = engine.downloadBytes;
    expect(reports[0]).toMatchObject({
      message: expect.stringMatching(/^installing the embedded engine: .+ to download, 1\.0 MB on disk$/),
      completedBytes: 0,
      totalBytes: total,
    });
    const counted = reports.map((report) => report.completedBytes ?? 0);
    expect(counted).toEqual(counted.toSorted((a, b) => a - b));
    expect(reports.filter((report) => report.bytesPerSecond !== undefined).at(-1)?.completedBytes).toBe(total);
  });

  test("is not repeated", async () => {
    const { install, registry, reports } = await start();
    await install();
    const asked = registry.asked.length;
    const reported = reports.length;
    await install();
    expect([registry.asked.length, reports.length]).toEqual([asked, reported]);
  });

  test("finds packages at another address of the registry", async () => {
    const { install, registry } = await start();
    registry.moveArchives();
    expect(await (await install()).isInstalled()).toBe(true);
  });
});

describe("a registry that misbehaves", () => {
  test.each([
    ["a dropped connection", "cut"],
    ["no reply", "hang"],
    ["status 503", 503],
    ["status 429", 429],
  ] as const)("%s passes: the download is tried again", async (_case, how) => {
    const { install, registry } = await start();
    registry.misbehave("node-llama-cpp", how);
    expect(await (await install({ patience: impatient })).isInstalled()).toBe(true);
    expect(registry.asked.filter((name) => name === "node-llama-cpp")).toHaveLength(2);
  });

  test.each<[string, Parameters<InstallFixture["registry"]["misbehave"]>[1][], RegExp, number]>([
    [
      "repeated stalls",
      ["hang", "hang", "hang"],
      /ms 2\.1\.3 could not be downloaded from 127\.0\.0\.1:\d+ in 3 attempts: 127\.0\.0\.1:\d+ sent nothing for 1 s/,
      3,
    ],
    [
      "repeatedly dropped connections",
      ["cut", "cut", "cut"],
      /in 3 attempts: 127\.0\.0\.1:\d+: .*(?:closed|terminated|aborted)/,
      3,
    ],
    ["repeated errors", [500, 502, 503], /in 3 attempts: 127\.0\.0\.1:\d+ answered 503/, 3],
    ["a missing package", [404], /answered 404 for ms 2\.1\.3/, 1],
    ["missing credentials", [401], /answered 401 for ms 2\.1\.3/, 1],
    ["changed bytes", ["corrupt"], /ms 2\.1\.3 from .* is not what ollm-mcp was released with \(sha512 differs\)/, 1],
    ["more bytes than locked", ["too long"], /sha512 differs/, 1],
  ])("%s: the error has the reason, and no file is left", async (_case, how, message, attempts) => {
    const { install, registry, leftovers } = await start();
    registry.misbehave("ms", ...how);
    await expect(install({ patience: impatient })).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringMatching(message),
      next: [expect.objectContaining({ step: "advice" })],
    });
    expect(registry.asked.filter((name) => name === "ms")).toHaveLength(attempts);
    expect(await leftovers()).toEqual([]);
  });

  test("a slow download that makes progress is not aborted", async () => {
    const { install, registry } = await start();
    registry.misbehave("node-llama-cpp", "slow"); // longer in total than the stall timeout
    await install({ patience: impatient });
    expect(registry.asked.filter((name) => name === "node-llama-cpp")).toHaveLength(1);
  });

  test("the final failure of one package aborts the other downloads", async () => {
    const { install, registry } = await start();
    registry.misbehave("node-llama-cpp", "hang");
    registry.misbehave("ms", 404);
    await expect(install({ patience: { ...eager, stallMs: 600_000 } })).rejects.toMatchObject({
      message: expect.stringContaining("answered 404 for ms 2.1.3"),
    });
  });

  test("an unreachable registry: the error has the reason", async () => {
    const { install, registry, leftovers } = await start();
    await registry.close();
    await expect(install()).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringContaining("ECONNREFUSED"),
    });
    expect(await leftovers()).toEqual([]);
  });
});

describe("an archive with an entry outside its folder is rejected, even with the right checksum", () => {
  test.each<[string, ArchiveEntry]>([
    ["a name with ..", { path: "package/../../../../evil.js", content: "x" }],
    ["an absolute name", { path: "/tmp/evil.js", content: "x" }],
    ["a Windows drive", { path: "package/C:\\evil.js", content: "x" }],
    ["a name with backslashes", { path: "package\\..\\evil.js", content: "x" }],
    ["a symbolic link", { path: "package/link", type: "SymbolicLink", linkpath: "../../.." }],
    ["a hard link", { path: "package/link", type: "Link", linkpath: "package/index.js" }],
  ])("%s", async (_case, entry) => {
    const { install, leftovers } = await start(withEntry(entry));
    await expect(install()).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringContaining("ms 2.1.3 contains an unsafe entry"),
    });
    expect(await leftovers()).toEqual([]);
  });
});

describe("the trial run", () => {
  test("reports why the engine does not run on this machine, and leaves no file", async () => {
    const reason = "/lib/libc.so.6: version `GLIBC_2.38' not found";
    const { install, leftovers } = await start(
      enginePackages(`export const getLlama = async () => { throw new Error(${JSON.stringify(reason)}); };`),
    );
    await expect(install()).rejects.toMatchObject({
      name: "LoadFailed",
      message: `the embedded engine was downloaded but does not run on this machine: Error: ${reason}`,
    });
    expect(await leftovers()).toEqual([]);
  });

  test("survives binaries that crash their process", async () => {
    const { install } = await start(enginePackages(`process.kill(process.pid, "SIGKILL"); export const getLlama = 0;`));
    await expect(install()).rejects.toMatchObject({ name: "LoadFailed" });
  });

  test("is ended by an abort", async () => {
    // The module sends its process id to the registry and never returns.
    const { engine, registry, leftovers } = await start(
      enginePackages(
        `await fetch(process.env.npm_config_registry + "trial/" + process.pid); setInterval(() => 0, 1000); await new Promise(() => 0);`,
      ),
    );
    const abort = new AbortController();
    const installing = engine().install(() => undefined, abort.signal);
    const pid = Number((await registry.arrival("/trial/")).split("/").at(-1));
    abort.abort();
    await expect(installing).rejects.toMatchObject({ name: "Cancelled" });
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(await leftovers()).toEqual([]);
  });

  test("ends with the process that started it, even if that is killed", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const hanging = `import { connect } from "node:net"; connect(${port}, "127.0.0.1"); await new Promise(() => 0);`;
    const { startProcess } = await start(enginePackages(hanging));
    const installing = startProcess();
    const [trial] = (await once(server, "connection")) as [Socket];
    const trialEnded = once(trial.on("error", () => undefined).resume(), "close");
    installing.kill("SIGKILL");
    await trialEnded;
    server.close();
    expect(trial.destroyed).toBe(true);
  });

  test("a package without binaries is rejected", async () => {
    const packages = enginePackages().map((found) => ({
      ...found,
      entries: found.entries.filter((entry) => !entry.path.endsWith(".node")),
    }));
    const { install, leftovers } = await start(packages);
    await expect(install()).rejects.toMatchObject({
      name: "LoadFailed",
      message: expect.stringContaining("no native binary"),
    });
    expect(await leftovers()).toEqual([]);
  });
});

describe("checks before the download", () => {
  test("an unsupported system is an error before any request or write", async () => {
    const { install, registry, leftovers } = await start();
    const platform = { platform: "linux", arch: "x64", libc: { kind: "musl" }, node: { execPath: "node" } } as const;
    await expect(install({ platform })).rejects.toMatchObject({ name: "EngineNotInstalled" });
    expect([registry.asked, await leftovers()]).toEqual([[], []]);
  });

  test("a full disk is an error with both numbers", async () => {
    const { install, lockFolder, registry, leftovers } = await start();
    const file = join(lockFolder, "linux-x64", "size.json");
    const size = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
    await writeFile(file, JSON.stringify({ ...size, installedBytes: 2 ** 52 }));
    await expect(install()).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringMatching(/needs 4503\d+\.\d GB on the disk of .+; .+ are free/),
    });
    expect([registry.asked, await leftovers()]).toEqual([[], []]);
  });

  test("a home that can't be created is an error with its path", async () => {
    const { install, enginesFolder } = await start();
    await writeFile(join(enginesFolder, "..", "..", "file"), "");
    await expect(install({ enginesFolder: join(enginesFolder, "..", "..", "file", "engines") })).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringContaining("ENOTDIR"),
    });
  });

  test.skipIf(process.platform === "win32" || process.getuid?.() === 0)(
    "a read-only home is an error with its path (not tested as root or on Windows, where modes have no effect)",
    async () => {
      const { install, enginesFolder } = await start();
      await mkdir(enginesFolder, { recursive: true });
      await chmod(enginesFolder, 0o500);
      await expect(install()).rejects.toMatchObject({
        name: "PullFailed",
        message: `${enginesFolder} cannot be written (EACCES); nothing was installed`,
      });
      await chmod(enginesFolder, 0o700);
    },
  );

  test("a lock of another engine version is rejected", async () => {
    const { install } = await start(enginePackages().map((found) => ({ ...found, version: "9.9.9" })));
    await expect(install()).rejects.toMatchObject({
      message: expect.stringContaining(`does not contain node-llama-cpp ${engineVersion}`),
    });
  });
});

describe("concurrent callers", () => {
  test("of one process share a download, and a later one receives the latest progress first", async () => {
    const { engine, registry } = await start();
    const files = engine();
    const open = registry.holdBack();
    const signal = new AbortController().signal;
    const heard: string[] = [];
    const first = files.install(() => undefined, signal);
    await registry.arrival(".tgz");
    const second = files.install((progress) => heard.push(progress.message), signal);
    open();
    await Promise.all([first, second]);
    expect(registry.asked).toHaveLength(3);
    expect(heard[0]).toMatch(/^installing the embedded engine: /);
    expect(heard).toContain("testing the embedded engine");
  });

  test("do not affect each other when one cancels", async () => {
    const { engine, registry } = await start();
    const files = engine();
    const open = registry.holdBack();
    const abort = new AbortController();
    const first = files.install(() => undefined, abort.signal);
    const second = files.install(() => undefined, new AbortController().signal);
    await registry.arrival(".tgz");
    abort.abort();
    await expect(first).rejects.toMatchObject({ name: "Cancelled" });
    open();
    await second;
    expect(await files.isInstalled()).toBe(true);
  });

  test("abort the installation when the last one cancels, and the next call starts again", async () => {
    const { engine, registry, leftovers } = await start();
    const files = engine();
    const open = registry.holdBack();
    const abort = new AbortController();
    const cancelled = files.install(() => undefined, abort.signal);
    await registry.arrival(".tgz");
    abort.abort();
    const next = files.install(() => undefined, new AbortController().signal);
    await expect(cancelled).rejects.toMatchObject({ name: "Cancelled" });
    open();
    await next;
    expect(await leftovers()).toEqual([folderName]);
  });

  test("start nothing with an aborted signal", async () => {
    const { install, registry } = await start();
    await expect(install({}, AbortSignal.abort())).rejects.toMatchObject({ name: "Cancelled" });
    expect(registry.asked).toEqual([]);
  });

  test("of two processes install once", async () => {
    const { startProcess, registry, engine, leftovers } = await start();
    const open = registry.holdBack();
    const first = startProcess();
    const firstDone = messageOf(first, "installed");
    await registry.arrival(".tgz");
    const second = startProcess();
    const secondDone = messageOf(second, "installed");
    await messageOf(second, "waiting for another process that is installing the embedded engine");
    open();
    await Promise.all([firstDone, secondDone]);
    expect(registry.asked).toHaveLength(3);
    expect(await engine().isInstalled()).toBe(true);
    expect(await leftovers()).toEqual([folderName]);
  });
});

describe("an interrupted installation is repaired by the next one", () => {
  test("after a SIGKILL in the middle of the download", async () => {
    const { startProcess, registry, install, leftovers } = await start();
    const open = registry.holdBack();
    const cut = startProcess();
    await registry.arrival(".tgz");
    cut.kill("SIGKILL");
    await once(cut, "exit");
    expect(await leftovers()).toEqual([
      `${folderName}.lock`,
      expect.stringMatching(/^node-llama-cpp-.*\.staging-[0-9a-f]{8}$/),
    ]);
    open();
    await install({ patience: { ...eager, pollMs: 600_000 } }); // detected at the first poll, not by a timeout
    expect(await leftovers()).toEqual([folderName]);
  });

  test.each<[string, (folder: string) => Promise<void>]>([
    ["whose marker is missing", (folder) => rm(join(folder, "complete.json"))],
    ["whose marker is invalid", (folder) => writeFile(join(folder, "complete.json"), "{")],
    [
      "whose binary is truncated",
      (folder) => truncate(join(folder, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/llama-addon.node"), 5),
    ],
    ["whose module is missing", (folder) => rm(join(folder, "node_modules/node-llama-cpp/dist/index.js"))],
  ])("an installation %s is incomplete", async (_case, damage) => {
    const { install, enginesFolder, leftovers } = await start();
    const engine = await install();
    await damage(join(enginesFolder, folderName));
    expect(await engine.modulePath()).toBeUndefined();
    await install();
    expect(await engine.isInstalled()).toBe(true);
    expect(await leftovers()).toEqual([folderName]);
  });

  test.each([
    ["of another machine", JSON.stringify({ token: "01234567", pid: 1, host: `not-${hostname()}` })],
    ["whose holder ended before it wrote its name", ""],
  ])("an abandoned claim %s is taken over, and its files are removed", async (_case, claim) => {
    const { install, enginesFolder, leftovers } = await start();
    const lock = join(enginesFolder, `${folderName}.lock`);
    await mkdir(join(enginesFolder, `${folderName}.staging-01234567`), { recursive: true });
    await mkdir(join(enginesFolder, `${folderName}.abandoned-1`));
    await writeFile(lock, claim);
    const minuteAgo = new Date(Date.now() - 60_000);
    await utimes(lock, minuteAgo, minuteAgo);
    await install();
    expect(await leftovers()).toEqual([folderName]);
  });
});
