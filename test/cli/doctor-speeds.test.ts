import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { doctor } from "../../src/cli/setup/doctor.ts";
import { keptSpeeds, speedsFileOf } from "../../src/orchestrator/engines/llama-cpp/child/threads.ts";
import { engineVersion } from "../../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { silentIo } from "../support/silent-io.ts";

describe("ollm doctor", () => {
  it("shows what was measured of a model's threads", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "ollm-doctor-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const home = path.join(folder, "home");
    await mkdir(home, { mode: 0o700 });
    const models = path.join(home, "models");
    const digest = `sha256:${"a1".repeat(32)}`;
    const manifests = path.join(models, "manifests", "registry.ollama.ai", "library", "tiny");
    await mkdir(manifests, { recursive: true });
    await mkdir(path.join(models, "blobs"));
    const layers = [{ mediaType: "application/vnd.ollama.image.model", digest, size: 4 }];
    const config = { mediaType: "application/vnd.docker.container.image.v1+json", digest, size: 4 };
    await writeFile(path.join(manifests, "latest"), JSON.stringify({ schemaVersion: 2, config, layers }));
    await writeFile(path.join(models, "blobs", digest.replace(":", "-")), "{}  ");
    expect(await speedChecks(folder)).toEqual([]);
    const file = speedsFileOf(path.join(home, "cache"), { digest, adapterFiles: [] }, engineVersion);
    const threads = 3;
    const speeds = (fastest: number) =>
      new Map([1, Math.ceil(threads / 2), threads].map((each) => [each, each === fastest ? 0.2 : 0.01]));
    const kept = await keptSpeeds(file, threads);
    await kept.note({ reading: [...speeds(threads)] });
    await kept.note({ writing: [...speeds(1)] });
    expect(await speedChecks(folder)).toEqual([
      {
        name: "speed",
        status: "ok",
        message: `tiny:latest reads 200 tokens/s with 3 threads, writes 200 tokens/s with 1 thread`,
      },
    ]);
    for (const [speed, expected] of [
      [0.3, "answers up to 4 requests at once"],
      [0.1, "answers one after the other"],
    ] as const) {
      await kept.note({
        together: [
          [1, 0.2],
          [2, speed],
        ],
      });
      expect(await speedChecks(folder)).toEqual([
        expect.objectContaining({ message: expect.stringContaining(expected) }),
      ]);
    }
    await writeFile(file, "{");
    expect(await speedChecks(folder)).toEqual([]);
  });
});

async function speedChecks(folder: string) {
  let written = "";
  await doctor(
    { json: true },
    {
      ...silentIo,
      platform: process.platform,
      node: process.execPath,
      script: path.join(folder, "cli.mjs"),
      stdout: (part) => void (written += part),
      environment: { OLLM_HOME: path.join(folder, "home"), OLLAMA_HOST: "127.0.0.1:1" },
      userHome: folder,
      workingDirectory: folder,
    },
  );
  const { checks } = JSON.parse(written) as { checks: readonly { readonly name: string }[] };
  return checks.filter(({ name }) => name === "speed");
}
