import { describe, expect, it } from "vitest";
import { Cancelled, LoadFailed } from "../../../src/orchestrator/api/errors.ts";
import { createOperations, type OperationContext } from "../../../src/orchestrator/jobs/operations.ts";
import type { Progress } from "../../../src/orchestrator/api/types.ts";

/** Work that ends on `finish`, or when its signal aborts. */
function controlledWork() {
  let finish: (value: string) => void = () => undefined;
  let context: OperationContext | undefined;
  const work = (given: OperationContext) => {
    context = given;
    return new Promise<string>((resolve, reject) => {
      finish = resolve;
      given.signal.addEventListener("abort", () => reject(new Cancelled("work aborted")), { once: true });
    });
  };
  return { work, finish: (value: string) => finish(value), context: () => context };
}

const never = new AbortController().signal;
const pull = { kind: "pull", title: "pull a", key: "pull:a" } as const;
const generate = { kind: "generate", title: "generate" } as const;

describe("operations", () => {
  it("a second start with the same key joins the running operation", async () => {
    const operations = createOperations(
      () => 0,
      () => undefined,
    );
    const controlled = controlledWork();
    let startCount = 0;
    const begin = () =>
      operations.start(pull, (context) => {
        startCount += 1;
        return controlled.work(context);
      });
    const first = begin();
    const second = begin();
    const results = Promise.all([first.follow(never), second.follow(never)]);
    await Promise.resolve();
    controlled.finish("done");
    expect(await results).toEqual(["done", "done"]);
    expect(second.id).toBe(first.id);
    expect(startCount).toBe(1);
    expect(operations.running()).toEqual([]);
  });

  it("a cancelled call aborts an operation without other followers", async () => {
    const controlled = controlledWork();
    const operation = createOperations(
      () => 0,
      () => undefined,
    ).start(generate, controlled.work);
    const call = new AbortController();
    const followed = operation.follow(call.signal);
    await Promise.resolve();
    call.abort("cancelled");
    await expect(followed).rejects.toBeInstanceOf(Cancelled);
    expect(controlled.context()?.signal.aborted).toBe(true);
  });

  it("a cancelled call leaves an operation running that another call follows", async () => {
    const controlled = controlledWork();
    const operation = createOperations(
      () => 0,
      () => undefined,
    ).start(pull, controlled.work);
    const call = new AbortController();
    const cancelled = operation.follow(call.signal);
    const other = operation.follow(never);
    await Promise.resolve();
    call.abort("cancelled");
    await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
    expect(controlled.context()?.signal.aborted).toBe(false);
    controlled.finish("done");
    expect(await other).toBe("done");
    expect(operation.state()).toBe("succeeded");
  });

  it.each([
    { spec: pull, isAborted: false },
    { spec: generate, isAborted: true },
  ])("a disconnected client ends a $spec.kind: $isAborted", async ({ spec, isAborted }) => {
    const controlled = controlledWork();
    const operation = createOperations(
      () => 0,
      () => undefined,
    ).start(spec, controlled.work);
    const call = new AbortController();
    const followed = operation.follow(call.signal);
    await Promise.resolve();
    call.abort("disconnected");
    await expect(followed).rejects.toBeInstanceOf(Cancelled);
    expect(controlled.context()?.signal.aborted).toBe(isAborted);
    operation.cancel();
  });

  it("a detached operation continues until it is cancelled itself", async () => {
    const controlled = controlledWork();
    const operation = createOperations(
      () => 0,
      () => undefined,
    ).start(generate, controlled.work);
    const call = new AbortController();
    const followed = operation.follow(call.signal);
    await Promise.resolve();
    operation.detach();
    call.abort("cancelled");
    await expect(followed).rejects.toBeInstanceOf(Cancelled);
    expect(controlled.context()?.signal.aborted).toBe(false);
    operation.cancel();
    await expect(operation.follow(never)).rejects.toBeInstanceOf(Cancelled);
    expect(operation.state()).toBe("cancelled");
  });

  it("a late follower gets the latest progress at once and can read the partial text", async () => {
    const controlled = controlledWork();
    const operation = createOperations(
      () => 0,
      () => undefined,
    ).start(generate, controlled.work);
    const first = operation.follow(never);
    await Promise.resolve();
    controlled.context()?.report({ message: "loading" });
    controlled.context()?.report({ message: "generating" });
    controlled.context()?.addText("Par");
    controlled.context()?.addText("is");
    const received: Progress[] = [];
    const late = operation.follow(never, (progress) => received.push(progress));
    expect(received).toEqual([{ message: "generating" }]);
    expect(operation.partial()).toEqual({ text: "Paris", thinking: "" });
    controlled.finish("Paris");
    await Promise.all([first, late]);
  });

  it("a failure reaches every follower and is kept as the state", async () => {
    const operation = createOperations(
      () => 0,
      () => undefined,
    ).start(generate, () => Promise.reject(new LoadFailed("no memory")));
    await expect(operation.follow(never)).rejects.toThrow("no memory");
    await expect(operation.follow(never)).rejects.toBeInstanceOf(LoadFailed);
    expect(operation.state()).toBe("failed");
  });

  it("close aborts everything and waits for the work to end", async () => {
    const operations = createOperations(
      () => 0,
      () => undefined,
    );
    const operation = operations.start(pull, controlledWork().work);
    const followed = operation.follow(never);
    const failed = expect(followed).rejects.toBeInstanceOf(Cancelled);
    await operations.close();
    await failed;
    expect(operations.running()).toEqual([]);
  });
});
