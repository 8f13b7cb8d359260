import { expect, it, onTestFinished } from "vitest";
import { tools } from "../../src/tools/index.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { connectMemoryClient } from "../support/memory-client.ts";

it("the schemas of a tool are made once, however often and by how many clients the tools are listed", async () => {
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
