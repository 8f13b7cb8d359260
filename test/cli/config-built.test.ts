import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { builtCommand, connectStdio, type StdioClient } from "../support/stdio-client.ts";

const run = promisify(execFile);

describe("the settings of a living daemon", () => {
  let daemon: DaemonHome | undefined;
  let server: StdioClient | undefined;
  afterEach(async () => {
    await server?.close();
    await daemon?.close();
  });

  it("are shown with each source, and changed by command and by tool, in effect at once", async () => {
    daemon = await makeDaemonHome({ OLLM_TOOLS_SETS: "all" });
    const { home, environment } = daemon;
    server = await connectStdio("legacy", { ...environment, OLLM_MAX_TOKENS: "77" }, []);
    const { callTool } = server;
    const call = async (input: Record<string, unknown>) => {
      const result = await callTool("update_config", input);
      return result.structuredContent as { settings: { path: string; value: unknown; source: string }[] };
    };
    const file = join(home, "config.yaml");
    const ollm = (...words: string[]) =>
      run(process.execPath, [builtCommand, "config", ...words], { env: environment });

    await call({ action: "show", path: "options" });
    const { stdout } = await ollm("set", "options.temperature", "0.2");
    expect(stdout).toBe(`options.temperature is 0.2 (${file}:2); in effect\n`);
    await daemon.until("the caller sees it", async () => {
      const { settings } = await call({ action: "show", path: "options.temperature" });
      return settings[0]?.value === 0.2 && settings[0].source === `${file}:2`;
    });

    const set = await call({ action: "set", path: 'models["smollm2*"].keepAlive', value: 60 });
    expect(set.settings).toEqual([
      { path: 'models["smollm2*"].keepAlive', value: 60, source: `${file}:5`, scope: "caller" },
    ]);
    const { settings } = await call({ action: "show" });
    const source = (path: string) => settings.find((setting) => setting.path === path)?.source;
    expect(source("options.maxTokens")).toBe("OLLM_MAX_TOKENS");
    expect(source("providers.ollama.host")).toBe("OLLM_HOST");
    expect(source('models["smollm2*"].keepAlive')).toBe(`${file}:5`);
    expect(source("privacy")).toBe("default");
    expect(await readFile(file, "utf8")).toBe(
      'options:\n  temperature: 0.2\nmodels:\n  "smollm2*":\n    keepAlive: 60\n',
    );

    // What the daemon obeys, where a shell with other variables would not.
    const { OLLM_HOST: host, ...others } = environment;
    const elsewhere = { env: { ...others, OLLM_QUEUE_MAX_WAITING: "5" } };
    const there = await run(process.execPath, [builtCommand, "config", "show"], elsewhere);
    expect(there.stderr).toContain(`providers.ollama.host is "${host}": the running daemon was started with OLLM_HOST`);
    expect(there.stderr).toContain("the running daemon does not use OLLM_QUEUE_MAX_WAITING");
    expect((await ollm("show")).stderr).toBe("");

    await expect(ollm("set", "options.temperature", "9")).rejects.toMatchObject({ code: 1 });
    await expect(ollm("set", "optoins.temperature", "1")).rejects.toMatchObject({ code: 2 });
  });
});
