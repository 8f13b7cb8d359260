import { expect } from "vitest";
import type { OrchestratorError } from "../../../src/orchestrator/api/errors.ts";
import type { Comparison, CompareRequest } from "../../../src/orchestrator/api/facade-compare.ts";
import type { CallerContext } from "../../../src/orchestrator/api/types.ts";
import { fakeModel, gigabyte } from "../../support/fake-engine.ts";
import type { TestOrchestrator } from "../../support/orchestrator.ts";

export const small = fakeModel("llama3.2:3b", 2 * gigabyte);
export const coder = fakeModel("qwen2.5-coder:7b", 5 * gigabyte);
export const large = fakeModel("qwen2.5:14b", 9 * gigabyte);

/** Compares all three, unless the request says otherwise, and waits. */
export async function compare(
  harness: TestOrchestrator,
  request: Partial<CompareRequest>,
  caller: CallerContext = harness.caller(),
): Promise<Comparison> {
  const operation = await harness.orchestrator.comparisons.compare(caller, {
    prompt: "Why is the sky blue?",
    models: [small.name, coder.name, large.name],
    ...request,
  });
  return operation.follow(caller.signal);
}

export async function failureOf(work: Promise<unknown>): Promise<OrchestratorError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Error);
  return error as OrchestratorError;
}
