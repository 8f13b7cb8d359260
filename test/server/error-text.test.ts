import { describe, expect, it } from "vitest";
import * as errors from "../../src/orchestrator/api/errors.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";
import type { NextSteps } from "../../src/orchestrator/api/next-step.ts";
import { errorText } from "../../src/server/call/error-text.ts";

const log = createLog("silent", () => undefined);
const pull = { step: "pullModel", model: "qwen3:4b" } as const;

/** What an assistant reads below the message. */
const stepsOf = (error: unknown, tool = "route_and_generate") => errorText(error, tool, log).split("\n")[1] ?? "";

describe("a failed delegation", () => {
  it("ends with the task's way back to the assistant, and claims nothing about the models", () => {
    const alone = "Do the task yourself.";
    expect(stepsOf(new errors.QueueFull("40 requests wait, about 90 s"))).toBe(alone);
    expect(stepsOf(new TypeError("a defect"))).toBe(alone);
    expect(stepsOf(new errors.LoadFailed("corrupt file", { next: { step: "showStatus" } }))).toBe(
      "Call system_status to see what is wrong, or do the task yourself.",
    );
  });

  it.each<readonly [string, NextSteps, string]>([
    ["a model to pull", pull, 'Call pull_model with model "qwen3:4b", or do the task yourself.'],
    ["another model", { step: "didYouMean", names: ["a:1b"] }, "Did you mean a:1b? Or do the task yourself."],
    ["a shorter prompt", { step: "shortenPrompt" }, "Shorten the prompt, or do the task yourself."],
  ])("names first what would work now: %s", (_what, next, text) => {
    expect(stepsOf(new errors.UnknownModel("no model x", { next }))).toBe(text);
  });

  it("says so for each error but those that the call itself caused", () => {
    // Errors of other calls; the list is complete, so that a new class has to be considered.
    const others = /^(UnknownMemory|UnknownComparison)$/;
    const helpers = ["throwIfCancelled", "projectOf"];
    const kinds = Object.entries(errors).filter(([name]) => !others.test(name) && !helpers.includes(name));
    const silent = kinds.filter(([, kind]) => {
      const counts = { promptTokens: 9, contextTokens: 8 };
      const error = new (kind as typeof errors.PromptTooLong)("failed", counts);
      return !stepsOf(error).toLowerCase().includes("do the task yourself");
    });
    expect(silent.map(([name]) => name).toSorted()).toEqual([
      "Cancelled",
      "ConversationBusy",
      "InvalidRequest",
      "UnknownConversation",
      "UnknownJob",
      "UnknownTemplate",
    ]);
  });

  it("says so for a file that only the user can allow", () => {
    const outside = new errors.InvalidRequest("notes.txt is outside the roots", { next: { step: "allowFolder" } });
    expect(stepsOf(outside)).toMatch(
      /^Tell the user: only they can allow a folder, where the server runs, or do the task yourself\.$/,
    );
  });

  it("leaves text that must stay on this machine to the user", () => {
    expect(stepsOf(new errors.PrivacyLocked("the only model is remote", { next: pull }))).toBe(
      'Call pull_model with model "qwen3:4b", or do the task yourself only if the user agrees that its text leaves this machine.',
    );
  });

  it.each(["compare", "render_template", "smart_load"])("is one of %s, too", (tool) => {
    expect(stepsOf(new errors.QueueFull("full"), tool)).toMatch(/^Do the task yourself/);
  });

  it("is none of the other tools, whose errors end as before", () => {
    for (const tool of ["list_models", "pull_model", "remember", "tools/list"]) {
      expect(errorText(new errors.QueueFull("full"), tool, log)).toBe("full");
    }
  });
});
