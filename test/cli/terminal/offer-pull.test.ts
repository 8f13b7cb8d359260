import { describe, expect, it } from "vitest";
import { offerFirstModel, orPull } from "../../../src/cli/terminal/offer-pull.ts";
import type { Session } from "../../../src/cli/terminal/session.ts";
import { OrchestratorError, PullFailed } from "../../../src/orchestrator/api/errors.ts";
import type { NextStep } from "../../../src/orchestrator/api/next-step.ts";
import { silentIo } from "../../support/silent-io.ts";

const pull: NextStep = { step: "pullModel", model: "qwen3:4b", because: "2.5 GB download" };

/** A terminal that answers with `answer`, and a daemon that has the models that were pulled. */
function shell(answer: string | undefined, onPull: () => Promise<void> = () => Promise.resolve()) {
  const seen = { stdout: "", stderr: "", asked: [] as string[], pulled: [] as unknown[] };
  const io = {
    ...silentIo,
    isTerminal: answer !== undefined,
    stdout: (text: string) => void (seen.stdout += text),
    stderr: (text: string) => void (seen.stderr += text),
    ask: async (question: string) => {
      seen.asked.push(question);
      return answer ?? "";
    },
  };
  const call = (async (tool: string, input: object) => {
    seen.pulled.push([tool, input]);
    await onPull();
    return { structured: {}, text: "qwen3:4b is ready" };
  }) as unknown as Session["call"];
  const work = (next: readonly NextStep[]) => async () => {
    if (seen.pulled.length === 0) throw new OrchestratorError("no model qwen3:4b", { next });
    return "answer";
  };
  return { seen, asking: { io, call }, work };
}

describe("orPull", () => {
  it("asks once, pulls, and does what failed", async () => {
    const { seen, asking, work } = shell("y");
    expect(await orPull(asking, "qwen3:4b", work([pull, { step: "listModels" }]))).toBe("answer");
    expect(seen.asked).toEqual(["Pull it now? [y/N] "]);
    expect(seen.stderr).toBe("qwen3:4b is not installed (2.5 GB download).\n");
    expect(seen.pulled).toEqual([["pull_model", { model: "qwen3:4b", engine: undefined }]]);
  });

  it("names installed models with a similar name", async () => {
    const { seen, asking, work } = shell("n");
    await expect(
      orPull(asking, "qwen3:4b", work([{ step: "didYouMean", names: ["qwen3:8b"] }, pull])),
    ).rejects.toThrow();
    expect(seen.stderr).toBe("qwen3:4b is not installed (2.5 GB download). Installed with a similar name: qwen3:8b.\n");
  });

  it("suggests a model if none is installed", async () => {
    const { seen, asking, work } = shell("yes");
    expect(await orPull(asking, undefined, work([pull]))).toBe("answer");
    expect(seen.stderr).toBe("No model is installed. Suggested: qwen3:4b (2.5 GB download)\n");
  });

  it("after a no: the error, without what the question stated", async () => {
    const { seen, asking, work } = shell("");
    await expect(orPull(asking, "qwen3:4b", work([pull, { step: "listModels" }]))).rejects.toMatchObject({
      message: "no model qwen3:4b",
      next: [{ step: "pullModel", model: "qwen3:4b" }, { step: "listModels" }],
    });
    expect(seen.pulled).toEqual([]);
  });

  it("doesn't ask without a terminal, and about other models or errors", async () => {
    const quiet = shell(undefined);
    await expect(orPull(quiet.asking, "qwen3:4b", quiet.work([pull]))).rejects.toMatchObject({ next: [pull] });
    const other = shell("y");
    await expect(orPull(other.asking, "mistral:7b", other.work([pull]))).rejects.toMatchObject({ next: [pull] });
    await expect(orPull(other.asking, "qwen3:4b", other.work([{ step: "retry" }]))).rejects.toThrow("no model");
    expect([...quiet.seen.asked, ...other.seen.asked]).toEqual([]);
    const bug = new TypeError("bug");
    await expect(orPull(other.asking, "qwen3:4b", () => Promise.reject(bug))).rejects.toBe(bug);
  });

  it("a pull that fails is the error", async () => {
    const failed = new PullFailed("the registry can't be reached");
    const { asking, work } = shell("y", () => Promise.reject(failed));
    await expect(orPull(asking, "qwen3:4b", work([pull]))).rejects.toBe(failed);
  });
});

describe("offerFirstModel", () => {
  const suggestion = { model: "qwen3:4b", reason: "2.5 GB download\nQuicker: qwen3:0.6b (0.5 GB)" };

  it("asks, pulls, and says that it is ready", async () => {
    const { seen, asking } = shell("y");
    expect(await offerFirstModel({ models: [], suggestion }, asking)).toBe(true);
    expect(seen.stdout).toBe("No model is installed yet. Suggested: qwen3:4b (2.5 GB download)\nqwen3:4b is ready\n");
  });

  it.each([
    ["n", true],
    ["y", false],
  ])("answer %j, may ask %j: says how to get it later", async (answer, mayAsk) => {
    const { seen, asking } = shell(answer);
    expect(await offerFirstModel({ models: [], suggestion }, asking, { mayAsk, program: "npx ollm-mcp" })).toBe(false);
    expect(seen.stdout).toMatch(/\nTo get it later: npx ollm-mcp pull qwen3:4b\n$/);
    expect([seen.asked.length, seen.pulled]).toEqual([mayAsk ? 1 : 0, []]);
  });

  it("says first which server is down, and what starts it", async () => {
    const { seen, asking } = shell("n");
    const unreachable = ["Ollama does not answer at a:1 (ECONNREFUSED): start it (`ollama serve`)"];
    await offerFirstModel({ models: [], suggestion, unreachable }, asking);
    expect(seen.stdout).toContain(`${unreachable[0]}. Suggested: qwen3:4b`);
    expect(seen.stdout).not.toContain("No model is installed");
  });

  it("says nothing if there is a model", async () => {
    const { seen, asking } = shell("y");
    const models = [{ name: "a:1b", engine: "ollama", size_bytes: 1, is_loaded: false }];
    expect(await offerFirstModel({ models }, asking)).toBe(true);
    expect([seen.stdout, seen.asked]).toEqual(["", []]);
  });
});
