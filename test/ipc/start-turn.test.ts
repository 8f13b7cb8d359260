import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensureRunFolder, runFolder } from "../../src/ipc/run-folder.ts";
import { startDaemon } from "../../src/ipc/start-daemon.ts";
import { temporaryHome } from "../support/ipc-home.ts";

let fixture: ReturnType<typeof temporaryHome>;
beforeEach(() => {
  fixture = temporaryHome();
  ensureRunFolder(fixture.home);
});
afterEach(() => fixture.remove());

/** The owners of the turn, in order, while a daemon is started that ends at once. */
async function turnsSeen(left: string): Promise<readonly string[]> {
  const program = { folder: path.join(fixture.home, "program"), version: "1.0.0+a" };
  mkdirSync(program.folder);
  for (const name of ["cli.mjs", "commands.mjs"]) writeFileSync(path.join(program.folder, name), "process.exit(3);");
  const turn = path.join(runFolder(fixture.home), "starting");
  writeFileSync(turn, left);
  const started = startDaemon({ home: fixture.home, program, node: process.execPath, environment: {}, say() {} }).then(
    () => "started",
    (error: unknown) => String(error),
  );
  const seen: string[] = [];
  for (;;) {
    const now = textOf(turn);
    if (now !== undefined && seen.at(-1) !== now) seen.push(now);
    // As often as `startDaemon` checks: its own turn lasts a second here.
    const outcome = await Promise.race([started, delay(20)]);
    if (outcome === undefined) continue;
    expect(outcome).toContain("it ended with code 3");
    expect(textOf(turn)).toBeUndefined();
    return seen;
  }
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

const own = `${process.pid}\n`;

describe("a turn to start the daemon that another front took", () => {
  it("ends when that front is killed", async () => {
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    expect(await turnsSeen(`${pid}\n`)).toContain(own);
  });

  it.each([
    ["that front runs", `${process.ppid}\n`],
    ["its owner is unknown", "?"],
  ])("is waited for while %s, for four seconds at most", async (_when, left) => {
    expect(await turnsSeen(left)).toEqual([left]);
  });
});

describe("a daemon's environment", () => {
  it("says where libraries of cards are, and holds no secrets", async () => {
    const program = { folder: path.join(fixture.home, "program"), version: "1.0.0+a" };
    const seen = path.join(fixture.home, "seen.json");
    const code = `import { writeFileSync } from "node:fs";
writeFileSync(${JSON.stringify(seen)}, JSON.stringify(process.env));
process.exit(3);`;
    mkdirSync(program.folder);
    for (const name of ["cli.mjs", "commands.mjs"]) writeFileSync(path.join(program.folder, name), code);
    const environment = { LD_LIBRARY_PATH: "/opt/cuda/lib64", API_KEY: "secret" };
    const start = { home: fixture.home, program, node: process.execPath, environment, say() {} };
    await expect(startDaemon(start)).rejects.toThrow("it ended with code 3");
    const passed: unknown = JSON.parse(readFileSync(seen, "utf8"));
    expect(passed).toMatchObject({ LD_LIBRARY_PATH: "/opt/cuda/lib64" });
    expect(passed).not.toHaveProperty("API_KEY");
  });
});
