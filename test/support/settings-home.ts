import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import type { Orchestrator } from "../../src/orchestrator/api/facade.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { createSettingsAccess } from "../../src/orchestrator/config/change.ts";
import { followSettings } from "../../src/orchestrator/config/live.ts";
import { createFakeOrchestrator } from "./fake-orchestrator.ts";
import { type MemoryClient, connectMemoryClient } from "./memory-client.ts";

/** Each test of the file gets a home with real settings around a fake orchestrator, and a client that may change them. */
export function useSettingsHome() {
  let home = "";
  let connection: MemoryClient | undefined;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), "ollm-update-config-"));
  });
  afterEach(async () => {
    await connection?.close();
    await rm(home, { recursive: true });
  });

  const file = () => join(home, "config.yaml");

  async function orchestrator(environment: Record<string, string> = {}): Promise<Orchestrator> {
    const { settings: live } = await followSettings({
      home,
      environment,
      flags: {},
      stamp: () => readFile(file(), "utf8").catch(() => "none"),
      check: ({ providers }) => {
        if (providers.ollama.host.includes("@")) throw new Error("a password in an address");
      },
      pause: () => Promise.resolve(),
      log: createLog("silent", () => undefined),
    });
    return { ...createFakeOrchestrator(), settings: createSettingsAccess({ home, live }) };
  }

  return {
    file,
    orchestrator,
    /** `update_config` is in the set `all` only. */
    async connect(options: Parameters<typeof connectMemoryClient>[1] = {}, environment: Record<string, string> = {}) {
      connection = await connectMemoryClient(await orchestrator(environment), { ...options, toolSets: ["all"] });
      return connection;
    },
    /** The text of an answer, with `HOME` for the folder. */
    text: ({ content }: Awaited<ReturnType<MemoryClient["call"]>>) =>
      content
        .map((block) => (block.type === "text" ? block.text : ""))
        .join("\n")
        .replaceAll(home, "HOME"),
  };
}
