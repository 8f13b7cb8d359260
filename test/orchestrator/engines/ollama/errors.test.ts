import { describe, expect, it } from "vitest";
import {
  ConnectionLost,
  EngineUnreachable,
  GenerationFailed,
  LoadFailed,
  OutOfMemory,
  PrivacyLocked,
  PromptTooLong,
  PullFailed,
  QueueFull,
  UnknownModel,
  UnsupportedCapability,
} from "../../../../src/orchestrator/api/errors.ts";
import { OllamaErrors } from "../../../../src/orchestrator/engines/ollama/errors.ts";
import { CutOff } from "../../../../src/orchestrator/engines/failures.ts";
import { advice } from "../../../../src/orchestrator/api/next-step.ts";
import { commandSteps } from "../../../../src/next-steps/commands.ts";
import { withSteps } from "../../../../src/next-steps/render.ts";
import { vendorErrors } from "../../../support/fake-ollama.ts";

const attempt = { what: "answering with smollm2:135m", model: "smollm2:135m", otherwise: GenerationFailed };
const body = (error: unknown): string => JSON.stringify({ error });

describe("an error answer of Ollama", () => {
  it.each([
    ["missing model", 404, body(vendorErrors.notFound("smollm2:135m")), UnknownModel],
    ["missing model of an embedding", 404, body('model "smollm2:135m" not found, try pulling it first'), UnknownModel],
    ["unknown name of a pull, in a 200 stream", 200, body("pull model manifest: file does not exist"), UnknownModel],
    ["no thinking", 400, body(vendorErrors.noThinking("smollm2:135m")), UnsupportedCapability],
    ["no images, nested", 400, body(vendorErrors.noImages), UnsupportedCapability],
    ["no embeddings", 501, body(vendorErrors.noEmbeddings), UnsupportedCapability],
    ["no chat", 400, body('"all-minilm" does not support chat'), UnsupportedCapability],
    ["full queue", 503, body(vendorErrors.queueFull), QueueFull],
    ["killed at load", 500, body(vendorErrors.terminated), OutOfMemory],
    ["out of memory at load", 500, body(vendorErrors.outOfMemory), OutOfMemory],
    ["runner stopped, in a 200 stream", 200, body(vendorErrors.runnerStopped), OutOfMemory],
    ["a file that no runner reads", 500, body("unable to load model: /blobs/sha256-1"), LoadFailed],
    ["cloud switched off", 403, body("ollama cloud is disabled: remote inference is unavailable"), PrivacyLocked],
    ["foreign Host header", 403, "", EngineUnreachable],
    ["another program at that address", 404, "404 page not found", EngineUnreachable],
    ["a proxy without its backend", 502, "<html>Bad Gateway</html>", EngineUnreachable],
    ["a redirect", 302, "", EngineUnreachable],
    [
      "a K-shift that a runner does not support is not a missing capability",
      500,
      body("Deepseek2 does not support K-shift"),
      GenerationFailed,
    ],
    ["anything else", 500, body("unexpected EOF"), GenerationFailed],
    ["an error that is an object", 500, body({ code: 500, message: "boom" }), GenerationFailed],
  ])("%s", (_, status, text, expected) => {
    const error = new OllamaErrors("127.0.0.1:11434").ofReply({ status, text }, attempt);
    expect(error).toBeInstanceOf(expected);
    expect(error.constructor).toBe(expected);
    expect(error.next).not.toEqual([]);
    expect(error.cause).toBeInstanceOf(Error);
  });

  it("has both numbers of a prompt that is too long, from the JSON inside its text", () => {
    const error = new OllamaErrors("127.0.0.1:11434").ofReply(
      { status: 400, text: body(vendorErrors.promptTooLong(6_010, 2_048)) },
      attempt,
    );
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error).toMatchObject({ promptTokens: 6_010, contextTokens: 2_048 });
    expect(error.message).toBe("the prompt has 6010 tokens, and smollm2:135m is loaded with a context of 2048");
  });

  it.each([1.1e226, 2 ** 53, -5, 1.5])("does not repeat numbers of tokens that can't be true: %d", (count) => {
    const error = new OllamaErrors("127.0.0.1:11434").ofReply(
      { status: 400, text: body(vendorErrors.promptTooLong(count, 2_048)) },
      attempt,
    );
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error).toMatchObject({ promptTokens: 2_049, contextTokens: 2_048, isExact: false });
    expect(error.message).toBe("the prompt is longer than the context that smollm2:135m is loaded with");
  });

  it("has the size of the failed allocation where Ollama reports it", () => {
    const bytesOf = (text: string) => new OllamaErrors("x").ofReply({ status: 500, text: body(text) }, attempt);
    expect(bytesOf(vendorErrors.outOfMemory)).toMatchObject({ allocationBytes: 5_368_709_120 });
    expect(bytesOf(vendorErrors.terminated)).toMatchObject({ allocationBytes: undefined });
  });

  it("suggests freeing memory when memory ran out, else pulling the model again", () => {
    const nextOf = (text: string) => new OllamaErrors("x").ofReply({ status: 500, text: body(text) }, attempt).next[0];
    expect(nextOf(vendorErrors.outOfMemory)).toEqual({ step: "unloadModel" });
    expect(nextOf("llama-server process has terminated: error loading model architecture: unknown")).toEqual({
      step: "pullModelAfresh",
      model: "smollm2:135m",
    });
  });

  it("explains an empty 403 by the host name", () => {
    const error = new OllamaErrors("box.lan:11434").ofReply({ status: 403, text: "" }, attempt);
    expect(error.message).toContain("host name");
    expect(error.next[0]).toMatchObject({ step: "changeSetting", setting: "providers.ollama.host" });
  });

  it("has the next steps of the attempt where no rule applies", () => {
    const pull = { ...attempt, otherwise: PullFailed, next: { step: "retry" } as const };
    const error = new OllamaErrors("x").ofReply({ status: 200, text: body("max retries exceeded: EOF") }, pull);
    expect(error).toBeInstanceOf(PullFailed);
    expect(error.next).toEqual([{ step: "retry" }]);
  });
});

describe("a failed connection to Ollama", () => {
  const failure = (code: string): Error => Object.assign(new Error(code), { code });

  it.each(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"])(
    "%s throws EngineUnreachable with a step that starts Ollama",
    (code) => {
      const error = new OllamaErrors("127.0.0.1:11434").ofFailure(failure(code), attempt);
      expect(error).toBeInstanceOf(EngineUnreachable);
      expect((error as EngineUnreachable).message).toContain(`127.0.0.1:11434 (${code})`);
      expect((error as EngineUnreachable).next[0]).toEqual(advice("start it (`ollama serve`)"));
    },
  );

  it.each([
    ["a reset", failure("ECONNRESET")],
    ["a closed socket", failure("UND_ERR_SOCKET")],
    ["half a stream", new CutOff()],
  ])("%s throws EngineUnreachable because the connection was closed", (_, cut) => {
    const error = new OllamaErrors("127.0.0.1:11434").ofFailure(cut, attempt);
    expect(error).toBeInstanceOf(ConnectionLost);
    expect((error as ConnectionLost).message).toContain("closed the connection while answering with smollm2:135m");
    // It may have been killed.
    expect((error as ConnectionLost).next[1]).toEqual(advice("start Ollama if it has stopped (`ollama serve`)"));
  });

  it("says of a certificate that nothing vouches for what makes the daemon trust it", () => {
    const error = new OllamaErrors("box.lan:11434").ofFailure(failure("DEPTH_ZERO_SELF_SIGNED_CERT"), attempt);
    expect(error).toBeInstanceOf(EngineUnreachable);
    const { message, next } = error as EngineUnreachable;
    expect(withSteps({ message, next }, commandSteps, ". ")).toBe(
      "the certificate of Ollama at box.lan:11434 is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT). " +
        "Set NODE_EXTRA_CA_CERTS to the file of its certificate authority, then run `ollm daemon restart`.",
    );
  });

  it.each([
    new TypeError("undefined is not a function"),
    // Node says this of a wrong argument, which no server can cause.
    failure("ERR_INVALID_ARG_TYPE"),
  ])("an unexpected error is not translated: %s", (defect) => {
    expect(new OllamaErrors("x").ofFailure(defect, attempt)).toBe(defect);
  });
});
