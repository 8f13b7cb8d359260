import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { engineLimitMs, installedEngine } from "../../../support/engine.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { isRunning, listedChildren, until } from "./engine-under-test.ts";

let folder: string;
let modulePath: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-orphans-"));
  ({ modulePath } = await installedEngine());
}, engineLimitMs);
afterAll(() => rm(folder, { recursive: true, force: true }));

it.skipIf(process.platform === "win32")(
  "a child that is answering ends with its daemon, even after a SIGKILL",
  async () => {
    const file = join(folder, "endless.gguf");
    await writeTinyGguf(file, { isEndless: true, contextLength: 32_768 });
    const script = fileURLToPath(new URL("./daemon.ts", import.meta.url));
    const daemon = spawn(process.execPath, ["--import", "tsx", script, modulePath, file], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    try {
      let runFolder: string | undefined;
      for await (const line of createInterface({ input: daemon.stderr })) {
        if (!line.startsWith("RUN ")) continue;
        runFolder = line.slice(4);
        break;
      }
      const [pid = 0] = await listedChildren(runFolder ?? "");
      expect(isRunning(pid)).toBe(true);
      daemon.kill("SIGKILL");
      await once(daemon, "exit");
      // Half a second on an idle machine.
      await until(() => !isRunning(pid), 2_000);
      await rm(dirname(runFolder ?? folder), { recursive: true, force: true });
    } finally {
      daemon.kill("SIGKILL");
    }
  },
  60_000,
);
