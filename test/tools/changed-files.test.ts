import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { GenerateResult } from "../../src/orchestrator/api/facade.ts";
import { createFakeOrchestrator, doneOperation, generated } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

let folder = "";
let connection: MemoryClient | undefined;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-test-"));
});

afterEach(async () => {
  await connection?.close();
  await rm(folder, { recursive: true });
});

test("route_and_generate names the files that changed while they were read in parts, and only then", async () => {
  const [edited, removed] = [path.join(folder, "edited.md"), path.join(folder, "removed.md")];
  let parts: GenerateResult["parts"] = { total: 3 };
  const generate = async () => {
    await writeFile(edited, "a later version");
    await rm(removed, { force: true });
    return doneOperation({ ...generated, ...(parts !== undefined && { parts }) });
  };
  connection = await connectMemoryClient(createFakeOrchestrator({ generate }), {
    roots: [pathToFileURL(folder).href],
  });
  const notes = async () => {
    await writeFile(edited, "the first version");
    await writeFile(removed, "text");
    const request = { prompt: "Summarise", files: [edited, removed] };
    const { structuredContent } = await (connection as MemoryClient).call("route_and_generate", request);
    return (structuredContent as { readonly notes?: readonly string[] }).notes;
  };
  expect(await notes()).toEqual([
    "edited.md changed while it was read: the answer describes the earlier version",
    "removed.md was removed while it was read: the answer describes it as it was",
  ]);
  parts = undefined;
  expect(await notes()).toBeUndefined();
});
