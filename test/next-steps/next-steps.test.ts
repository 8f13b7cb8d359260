import { describe, expect, test } from "vitest";
import { chatSteps, commandSteps } from "../../src/next-steps/commands.ts";
import { renderSteps, type StepTable } from "../../src/next-steps/render.ts";
import { toolSteps } from "../../src/next-steps/tools.ts";
import { advice, type NextStep } from "../../src/orchestrator/api/next-step.ts";
import { tools } from "../../src/tools/index.ts";

/** One of each, which the compiler keeps complete. */
const each: { readonly [Name in NextStep["step"]]: Extract<NextStep, { readonly step: Name }> } = {
  pullModel: { step: "pullModel", model: "qwen2.5:7b", because: "fits this machine" },
  pullModelThat: { step: "pullModelThat", that: "with vision", example: "gemma4:e4b" },
  resumePull: { step: "resumePull", model: "qwen2.5:7b" },
  importModel: { step: "importModel" },
  listModels: { step: "listModels" },
  chooseModel: { step: "chooseModel", that: "on this machine" },
  useModel: { step: "useModel", model: "llama3.2:3b", because: "2.0 GB, fits" },
  deleteModel: { step: "deleteModel", model: "qwen2.5:7b" },
  tidyModels: { step: "tidyModels" },
  pullModelAfresh: { step: "pullModelAfresh", model: "qwen2.5:7b" },
  pinModel: { step: "pinModel", model: "a:1b" },
  unpinModels: { step: "unpinModels", models: ["a:1b", "b:1b"] },
  unloadModel: { step: "unloadModel" },
  planLoad: { step: "planLoad", model: "qwen2.5:7b" },
  installEngine: { step: "installEngine", downloadBytes: 48_000_000 },
  useModelName: { step: "useModelName" },
  shortenPrompt: { step: "shortenPrompt", byTokens: 812 },
  retry: { step: "retry" },
  retryWhenIdle: { step: "retryWhenIdle" },
  startConversation: { step: "startConversation" },
  correctArguments: { step: "correctArguments" },
  setArgument: { step: "setArgument", argument: "profile", to: "code" },
  omitArgument: { step: "omitArgument", argument: "think" },
  lowerArgument: { step: "lowerArgument", argument: "context", to: 4_096 },
  raiseArgument: { step: "raiseArgument", argument: "maxTokens" },
  changeArgument: { step: "changeArgument", argument: "port", because: "0 picks a free one" },
  nameFileIn: { step: "nameFileIn", argument: "images" },
  askUser: { step: "askUser" },
  didYouMean: { step: "didYouMean", names: ["qwen2.5:7b"] },
  chooseOneOf: { step: "chooseOneOf", names: ["code", "fast"] },
  listMemories: { step: "listMemories" },
  forgetMemory: { step: "forgetMemory", key: "tone" },
  listTemplates: { step: "listTemplates" },
  compareModels: { step: "compareModels" },
  listWinners: { step: "listWinners" },
  listJobs: { step: "listJobs" },
  approveProject: { step: "approveProject" },
  openProject: { step: "openProject" },
  changeSetting: { step: "changeSetting", setting: "model.default", to: "qwen2.5:7b" },
  askUserToSet: { step: "askUserToSet", setting: "network.allowedHosts" },
  raiseSetting: { step: "raiseSetting", setting: "queue.maxWaiting" },
  unsetSetting: { step: "unsetSetting", setting: "model.default" },
  allowFolder: { step: "allowFolder", folder: "/srv/notes", configFile: "/home/ann/.ollm/config.yaml" },
  listSettings: { step: "listSettings" },
  editSettings: { step: "editSettings" },
  allowHost: { step: "allowHost", host: "192.168.1.10" },
  showStatus: { step: "showStatus" },
  restartDaemon: { step: "restartDaemon", after: "move trust.json away" },
  stopDaemon: { step: "stopDaemon" },
  showHelp: { step: "showHelp" },
  setUpClient: { step: "setUpClient" },
  rotateToken: { step: "rotateToken" },
  listDecisions: { step: "listDecisions" },
  checkInstallation: { step: "checkInstallation" },
  listClients: { step: "listClients" },
  shareDaemon: { step: "shareDaemon" },
  startStandalone: { step: "startStandalone" },
  setHome: { step: "setHome", to: "a folder on another disk" },
  advice: { step: "advice", text: "free some disk space" },
};
const steps = Object.values(each);

// Only names with an underscore: `compare` and `recall` are words, too.
const toolNames = tools.map(({ name }) => name).filter((name) => name.includes("_"));

describe("next steps", () => {
  test.each(steps)("$step in a shell or chat names no tool and no tool argument", (step) => {
    for (const table of [commandSteps, chatSteps]) {
      expect(toolNames.filter((name) => renderSteps([step], table).includes(name))).toEqual([]);
      expect(renderSteps([step], table)).not.toMatch(/context_tokens|max_tokens|continue_id|keep_alive|output_path/);
    }
  });

  test.each(steps)("$step in a chat names no flag outside a whole command", (step) => {
    // Options of the server that an assistant starts.
    const text = renderSteps([step], chatSteps).replaceAll(/`ollm [^`]+`|--(?:standalone|root)\b/g, "");
    expect(text).not.toMatch(/(?:^|\s)--?[a-z]/);
  });

  test("an argument in a chat is what is typed there", () => {
    const [to, limit] = ["auto", 200];
    expect(renderSteps([{ step: "setArgument", argument: "split", to }], chatSteps)).toBe("Type /set split auto.");
    expect(renderSteps([{ step: "raiseArgument", argument: "maxTokens", to: limit }], chatSteps)).toBe(
      "Type /set max-tokens 200.",
    );
    expect(renderSteps([{ step: "omitArgument", argument: "check" }], chatSteps)).toBe("Type /set check default.");
    expect(renderSteps([{ step: "nameFileIn", argument: "files" }], chatSteps)).toBe("Type /file PATH.");
  });

  test.each(steps)("$step for an assistant names a command only if the user must act", (step) => {
    const commands = renderSteps([step], toolSteps).match(/`ollm [^`]+`/g) ?? [];
    const ofUsers = [
      "`ollm --standalone`",
      "`ollm config edit`",
      "`ollm config set 'network.allowedHosts' VALUE`",
      "`ollm daemon restart`",
      "`ollm daemon status`",
      "`ollm daemon stop`",
      "`ollm --help`",
      "`ollm setup`",
      "`ollm setup --root /srv/notes`",
      "`ollm tidy`",
      "`ollm token rotate`",
      "`ollm decisions`",
      "`ollm doctor`",
      "`ollm project trust`",
    ];
    expect(commands.filter((command) => !ofUsers.includes(command))).toEqual([]);
  });

  test.each(steps)("$step names only tools that exist", (step) => {
    const named = renderSteps([step], toolSteps).match(/\b[a-z]+_[a-z_]+\b/g) ?? [];
    const known = /^(context_tokens|max_tokens|continue_id|keep_alive|output_path|comparison_id|dry_run|unload_all)$/;
    expect(named.filter((name) => !known.test(name) && !toolNames.includes(name))).toEqual([]);
  });

  test.each<readonly [string, readonly NextStep[], StepTable, string]>([
    ["nothing for no step", [], toolSteps, ""],
    [
      "one sentence for alternatives",
      [each.pullModel, each.listModels],
      commandSteps,
      "Run `ollm pull qwen2.5:7b` (fits this machine), or run `ollm models` to see the installed models.",
    ],
    [
      "a question on its own",
      [each.didYouMean, each.listModels],
      toolSteps,
      "Did you mean qwen2.5:7b? Or call list_models to see the installed models.",
    ],
    [
      "a question behind a sentence",
      [advice("use another name"), each.didYouMean],
      toolSteps,
      "Use another name. Did you mean qwen2.5:7b?",
    ],
    [
      "slash commands in a chat",
      [each.listModels, each.pullModel],
      chatSteps,
      "Type /model list, or run `ollm pull qwen2.5:7b` (fits this machine).",
    ],
  ])("are rendered as %s", (_what, given, table, text) => {
    expect(renderSteps(given, table)).toBe(text);
  });
});
