import { once } from "node:events";
import { chmod, mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
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

describe("a good installation", () => {
  test("unpacks every package of the lock where the lock says, and nothing that is not needed", async () => {
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

  test("says the sizes first, then counts bytes that only grow, up to the total", async () => {
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

  test("finds packages that the registry keeps under another address", async () => {
    const { install, registry } = await start();
    registry.moveArchives();
    expect(await (await install()).isInstalled()).toBe(true);
  });
});

describe("a registry that misbehaves", () => {
  test.each([
    ["a cut", "cut"],
    ["a stall", "stall"],
    ["no answer at all", "hang"],
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
      "a stall that does not end",
      ["hang", "hang", "hang"],
      /ms 2\.1\.3 could not be downloaded from 127\.0\.0\.1:\d+ in 3 attempts: no byte arrived for 1 s/,
      3,
    ],
    ["cuts that do not end", ["cut", "cut", "cut"], /in 3 attempts: the connection was cut/, 3],
    ["errors that do not end", [500, 502, 503], /in 3 attempts: HTTP status 503/, 3],
    ["a missing package", [404], /answered 404 for ms 2\.1\.3/, 1],
    ["missing credentials", [401], /answered 401 for ms 2\.1\.3/, 1],
    ["changed bytes", ["corrupt"], /ms 2\.1\.3 from .* is not what ollm-mcp was released with \(sha512 differs\)/, 1],
    ["more bytes than locked", ["too long"], /sha512 differs/, 1],
  ])("%s: the error says so, and nothing is left", async (_case, how, message, attempts) => {
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

  test("slow is not silent: a download that moves is left alone, however long it takes", async () => {
    const { install, registry } = await start();
    registry.misbehave("node-llama-cpp", "slow"); // longer in all than the stall timeout
    await install({ patience: impatient });
    expect(registry.asked.filter((name) => name === "node-llama-cpp")).toHaveLength(1);
  });

  test("one package that fails for good ends the other downloads at once", async () => {
    const { install, registry } = await start();
    registry.misbehave("node-llama-cpp", "hang");
    registry.misbehave("ms", 404);
    await expect(install({ patience: { ...eager, stallMs: 600_000 } })).rejects.toMatchObject({
      message: expect.stringContaining("answered 404 for ms 2.1.3"),
    });
  });

  test("no registry at all: the error says so", async () => {
    const { install, registry, leftovers } = await start();
    await registry.close();
    await expect(install()).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringContaining("ECONNREFUSED"),
    });
    expect(await leftovers()).toEqual([]);
  });
});

describe("archives that reach outside their folder are refused, although their checksum is right", () => {
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
      message: expect.stringContaining("ms 2.1.3 holds an entry that may not be unpacked"),
    });
    expect(await leftovers()).toEqual([]);
  });
});

describe("the trial run", () => {
  test("says why the engine does not run here, and leaves nothing", async () => {
    const reason = "/lib/libc.so.6: version `GLIBC_2.38' not found";
    const { install, leftovers } = await start(
      enginePackages(`export const getLlama = async () => { throw new Error(${JSON.stringify(reason)}); };`),
    );
    await expect(install()).rejects.toMatchObject({
      name: "LoadFailed",
      message: `The embedded engine was downloaded but does not run on this machine: Error: ${reason}`,
    });
    expect(await leftovers()).toEqual([]);
  });

  test("survives binaries that kill their process", async () => {
    const { install } = await start(enginePackages(`process.kill(process.pid, "SIGKILL"); export const getLlama = 0;`));
    await expect(install()).rejects.toMatchObject({ name: "LoadFailed" });
  });

  test("is ended by an abort", async () => {
    // The module tells the registry its process id and never returns.
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

  test("ends with the process that started it, also when that one is killed", async () => {
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

  test("a package without binaries is no installation", async () => {
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
  test("an unsupported system is told so before anything is asked or written", async () => {
    const { install, registry, leftovers } = await start();
    const platform = { platform: "linux", arch: "x64", libc: { kind: "musl" }, node: { execPath: "node" } } as const;
    await expect(install({ platform })).rejects.toMatchObject({ name: "EngineNotInstalled" });
    expect([registry.asked, await leftovers()]).toEqual([[], []]);
  });

  test("a full disk is told with both numbers", async () => {
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

  test("a home that can't be made is told with its path", async () => {
    const { install, enginesFolder } = await start();
    await writeFile(join(enginesFolder, "..", "..", "file"), "");
    await expect(install({ enginesFolder: join(enginesFolder, "..", "..", "file", "engines") })).rejects.toMatchObject({
      name: "PullFailed",
      message: expect.stringContaining("ENOTDIR"),
    });
  });

  test.skipIf(process.platform === "win32" || process.getuid?.() === 0)(
    "a home that can't be written is told with its path (not checkable as root or on Windows, where modes don't bind)",
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

  test("a lock of another engine version is refused", async () => {
    const { install } = await start(enginePackages().map((found) => ({ ...found, version: "9.9.9" })));
    await expect(install()).rejects.toMatchObject({
      message: expect.stringContaining(`does not lock node-llama-cpp ${engineVersion}`),
    });
  });
});

describe("several callers", () => {
  test("two of one process share one download, and who joins later hears the newest progress first", async () => {
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
    expect(heard).toContain("trying the embedded engine");
  });

  test("one that cancels leaves the other's installation alone", async () => {
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

  test("the last one that cancels ends it and leaves nothing; the next call starts anew", async () => {
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

  test("a cancelled signal starts nothing", async () => {
    const { install, registry } = await start();
    await expect(install({}, AbortSignal.abort())).rejects.toMatchObject({ name: "Cancelled" });
    expect(registry.asked).toEqual([]);
  });

  test("of two processes one installs and the other waits for it", async () => {
    const { startProcess, registry, engine, leftovers } = await start();
    const open = registry.holdBack();
    const first = startProcess();
    const firstDone = messageOf(first, "installed");
    await registry.arrival(".tgz");
    const second = startProcess();
    const secondDone = messageOf(second, "installed");
    await messageOf(second, "waiting for another process that installs the embedded engine");
    open();
    await Promise.all([firstDone, secondDone]);
    expect(registry.asked).toHaveLength(3);
    expect(await engine().isInstalled()).toBe(true);
    expect(await leftovers()).toEqual([folderName]);
  });
});

describe("cut installations are repaired by the next", () => {
  test("after a SIGKILL in the middle of the download", async () => {
    const { startProcess, registry, install, leftovers } = await start();
    const open = registry.holdBack();
    const cut = startProcess();
    await registry.arrival(".tgz");
    cut.kill("SIGKILL");
    await once(cut, "exit");
    expect(await leftovers()).toEqual([`${folderName}.staging`]);
    open();
    await install({ patience: { ...eager, pollMs: 600_000 } }); // seen at the first look, not by a timeout
    expect(await leftovers()).toEqual([folderName]);
  });

  test.each<[string, (folder: string) => Promise<void>]>([
    ["whose marker is missing", (folder) => rm(join(folder, "complete.json"))],
    ["whose marker is garbage", (folder) => writeFile(join(folder, "complete.json"), "{")],
    [
      "whose binary is cut",
      (folder) => truncate(join(folder, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/llama-addon.node"), 5),
    ],
    ["whose module is gone", (folder) => rm(join(folder, "node_modules/node-llama-cpp/dist/index.js"))],
  ])("an installation %s is none", async (_case, damage) => {
    const { install, enginesFolder, leftovers } = await start();
    const engine = await install();
    await damage(join(enginesFolder, folderName));
    expect(await engine.modulePath()).toBeUndefined();
    await install();
    expect(await engine.isInstalled()).toBe(true);
    expect(await leftovers()).toEqual([folderName]);
  });

  test("a claim of another machine that gives no sign is taken over, and what it left is swept", async () => {
    const { install, enginesFolder, leftovers } = await start();
    const staging = join(enginesFolder, `${folderName}.staging`);
    await mkdir(staging, { recursive: true });
    await mkdir(join(enginesFolder, `${folderName}.abandoned-1`));
    await writeFile(join(staging, "owner.json"), JSON.stringify({ token: "t", pid: 1, host: `not-${hostname()}` }));
    await install();
    expect(await leftovers()).toEqual([folderName]);
  });

  test("a claim whose owner was cut before it wrote its name is taken over", async () => {
    const { install, enginesFolder, leftovers } = await start();
    await mkdir(join(enginesFolder, `${folderName}.staging`), { recursive: true });
    await install();
    expect(await leftovers()).toEqual([folderName]);
  });
});
