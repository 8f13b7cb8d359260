import { describe, expect, it } from "vitest";
import { ChildGone } from "../../../../src/orchestrator/engines/llama-cpp/child-session.ts";
import { toComputeError, toLoadError } from "../../../../src/orchestrator/engines/llama-cpp/failures.ts";
import { EngineUnreachable, LoadFailed, OutOfMemory } from "../../../../src/orchestrator/api/errors.ts";

const log = ["llama_model_loader: loaded meta data", "[warn] load: control-looking token '</s>' was not control-type"];
const gone = (cause: string, lines = log) => new ChildGone({ cause, log: lines, wasStopped: false });

describe("an engine process that ended", () => {
  it("by SIGKILL is reported as killed, regardless of its last output", () => {
    const answering = toComputeError("a:1b", gone("SIGKILL"));
    expect(answering).toBeInstanceOf(EngineUnreachable);
    expect(answering.message).toBe("the engine process of a:1b ended (SIGKILL) before it finished its answer");
    const loading = toLoadError("a:1b", gone("SIGKILL"));
    expect(loading).toBeInstanceOf(OutOfMemory);
    expect(loading).toMatchObject({ wasKilled: true });
    expect(loading.message).toBe("a:1b could not be loaded: the engine process ended (SIGKILL)");
  });

  it("on its own is reported with the reason in its output", () => {
    const assertion = "ggml.c:1648: GGML_ASSERT(ctx->mem_buffer != NULL) failed";
    const loading = toLoadError("a:1b", gone("SIGABRT", [...log, assertion]));
    expect(loading).toBeInstanceOf(LoadFailed);
    expect(loading.message).toBe(`a:1b could not be loaded: the engine process ended (SIGABRT): ${assertion}`);
  });
});
