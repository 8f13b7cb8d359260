import { spawn } from "node:child_process";
import { once } from "node:events";
import { truncate } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { builtCommand } from "../support/stdio-client.ts";
import { writeTinyGguf } from "../support/tiny-gguf.ts";

let home: DaemonHome;

beforeEach(async () => {
  home = await makeDaemonHome({ OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "true", OLLM_PROVIDERS_OLLAMA_ENABLED: "false" });
});

afterEach(async () => home.close());

it.skipIf(process.platform === "win32")(
  "an interrupted import ends with 130 and is cancelled at the daemon",
  async () => {
    const file = path.join(home.folder, "large.gguf");
    await writeTinyGguf(file);
    // Takes seconds to hash, and no room on the disk.
    await truncate(file, 4 * 1024 ** 3);
    // Ctrl+C reaches every process of the terminal's group at once, the front that carries the call among them.
    const command = spawn(process.execPath, [builtCommand, "import", file, "large"], {
      env: home.environment,
      stdio: ["ignore", "ignore", "pipe"],
      detached: true,
    });
    let stderr = "";
    command.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const exited = once(command, "close");
    await home.until("the file is hashed", () => stderr.includes("hashing"));
    home.claim();
    process.kill(-(command.pid ?? 0), "SIGINT");
    expect((await exited)[0]).toBe(130);
    expect(stderr).toContain("the import of large was cancelled");
    await home.until("the call is logged", async () => (await home.callLog()).includes("pull_model"));
    expect(await home.callLog()).toMatch(/pull_model .*cancelled/);
    expect((await home.status()).jobs).toBe(0);
  },
);
