import { expect, it, onTestFinished, vi } from "vitest";

it("the schemas of a tool are made once, however often and by how many clients the tools are listed", async () => {
  // Another file of this process may have listed them.
  vi.resetModules();
  const { tools } = await import("../../src/tools/index.ts");
  const { createFakeOrchestrator } = await import("../support/fake-orchestrator.ts");
  const { connectMemoryClient } = await import("../support/memory-client.ts");
  let reads = 0;
  for (const tool of tools) {
    const { input } = tool;
    const count = { get: () => ((reads += 1), input), configurable: true, enumerable: true };
    Object.defineProperty(tool, "input", count);
    onTestFinished(
      () => void Object.defineProperty(tool, "input", { value: input, configurable: true, enumerable: true }),
    );
  }
  const list = async (times: number): Promise<readonly string[]> => {
    const connection = await connectMemoryClient(createFakeOrchestrator());
    onTestFinished(async () => connection.close());
    let names: readonly string[] = [];
    for (let time = 0; time < times; time += 1)
      names = (await connection.client.listTools()).tools.map(({ name }) => name);
    return names;
  };
  const names = await list(1);
  expect(names.length).toBeGreaterThan(5);
  expect(reads).toBe(names.length);
  expect(await list(3)).toEqual(names);
  expect(reads).toBe(names.length);
});
