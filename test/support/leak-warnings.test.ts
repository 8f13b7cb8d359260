import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { warningsVariable } from "./leaks.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const address = (file: string) => JSON.stringify(pathToFileURL(path.join(root, file)).href);

const listeners = (count: number) =>
  `const many = new (require("node:events"))(); for (let i = 0; i < ${count}; i += 1) many.on("x", () => {});`;
const inWorker = (count: number) => `
  import { createRequire } from "node:module";
  const require = createRequire(import.meta.url);
  it("passes", () => { ${listeners(count)} });`;
const inChild = `
  import { spawnSync } from "node:child_process";
  import { serverEnvironment } from ${address("test/support/stdio-client.ts")};
  it("passes", () => {
    const { status, stderr } = spawnSync(process.execPath, ["-e", ${JSON.stringify(listeners(11))}], { env: ENVIRONMENT });
    expect([status, stderr.toString()]).toEqual([0, ""]);
  });`;
const inDaemon = `
  import { mkdir, writeFile } from "node:fs/promises";
  import { dirname } from "node:path";
  import { daemonLogFile } from ${address("src/ipc/run-folder.ts")};
  import { makeDaemonHome } from ${address("test/support/daemon-home.ts")};
  it("passes", async () => {
    const fixture = await makeDaemonHome();
    await mkdir(dirname(daemonLogFile(fixture.home)), { recursive: true });
    await writeFile(daemonLogFile(fixture.home), "(node:7) MaxListenersExceededWarning: planted in a log\\n");
    await fixture.close();
  });`;

const planted: Readonly<Record<string, string>> = {
  none: inWorker(10),
  worker: inWorker(11),
  child: inChild.replace("ENVIRONMENT", "process.env"),
  server: inChild.replace("ENVIRONMENT", "serverEnvironment({})"),
  daemon: inDaemon,
};

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

let folder: string;
let report: Report;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-leaks-"));
  for (const [name, text] of Object.entries(planted)) await writeFile(path.join(folder, `${name}.test.mjs`), text);
  const setupFiles = path.join(root, "test", "support", "leak-warnings.ts");
  // `globals`, because a test in this folder finds no "vitest" to import.
  const test = { globals: true, include: ["*.test.mjs"], setupFiles, pool: "forks", isolate: false, maxWorkers: 1 };
  await writeFile(path.join(folder, "vitest.config.mjs"), `export default ${JSON.stringify({ test })};`);
  const vitest = path.join(root, "node_modules", "vitest", "vitest.mjs");
  const { stdout } = await promisify(execFile)(process.execPath, [vitest, "run", "--reporter", "json"], {
    cwd: folder,
    // Its warnings are planted and must not count for this file.
    env: { ...process.env, [warningsVariable]: "" },
  }).catch((error: { readonly stdout: string }) => error);
  report = JSON.parse(stdout) as Report;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it.each([
  ["none", "passed"],
  ["worker", "failed"],
  ["child", "failed"],
  ["server", "failed"],
  ["daemon", "failed"],
])("a test file whose tests pass, with a leak of listeners in: %s, has %s", (name, status) => {
  const found = report.testResults.find((each) => path.basename(each.name) === `${name}.test.mjs`);
  expect(found?.assertionResults).toEqual([expect.objectContaining({ status: "passed" })]);
  expect(found?.status).toBe(status);
  if (status === "failed") expect(found?.message).toContain("MaxListenersExceededWarning");
});
