/** A parameter of a request, under a name of its own: each surface calls it otherwise (`max_tokens`, `--max-tokens`). */
export type Argument =
  | "base"
  | "bind"
  | "confirm"
  | "context"
  | "continue"
  | "engine"
  | "files"
  | "folder"
  | "force"
  | "format"
  | "from"
  | "images"
  | "judge"
  | "keepAlive"
  | "key"
  | "maxTokens"
  | "model"
  | "models"
  | "noToken"
  | "outputPath"
  | "overwrite"
  | "port"
  | "privacy"
  | "profile"
  | "prompt"
  | "scope"
  | "template"
  | "think"
  | "value"
  | "variables";

/**
 * What a caller can do about an error, as data: it names no tool and no command. Each surface renders it by a table of
 * its own (`src/next-steps/`), whose type keeps it complete. Sizes are in bytes, windows and prompts in tokens.
 */
export type NextStep =
  // Models.
  | { readonly step: "pullModel"; readonly model: string; readonly engine?: string; readonly because?: string }
  /** `that` completes "a model": `that has vision`, `below 3.2 GB`. */
  | { readonly step: "pullModelThat"; readonly that: string; readonly example?: string }
  /** What has arrived is kept. */
  | { readonly step: "resumePull"; readonly model?: string }
  /** From a GGUF file. */
  | { readonly step: "importModel" }
  | { readonly step: "listModels"; readonly capability?: string }
  /** `that` completes "a model": `on this machine`, `with a longer context window`. */
  | { readonly step: "chooseModel"; readonly argument?: Argument; readonly that?: string }
  /** `because` completes the name: `3.0 GB, fits`. */
  | { readonly step: "useModel"; readonly model: string; readonly because?: string }
  | { readonly step: "deleteModel"; readonly model?: string }
  /** Its file may be damaged. */
  | { readonly step: "pullModelAfresh"; readonly model: string }
  | { readonly step: "unpinModels"; readonly models: readonly string[] }
  /** All that are loaded when `model` is absent. */
  | { readonly step: "unloadModel"; readonly model?: string }
  /** Shows what a load would take, without loading. */
  | { readonly step: "planLoad"; readonly model: string }
  | { readonly step: "installEngine"; readonly downloadBytes: number }
  /** Shows the forms that a model's name may have. */
  | { readonly step: "useModelName" }
  // The request.
  | { readonly step: "shortenPrompt"; readonly byTokens?: number }
  | { readonly step: "retry" }
  /** When the model that the request would unload has no requests any more. */
  | { readonly step: "retryWhenIdle" }
  | { readonly step: "startConversation" }
  | { readonly step: "correctArguments" }
  | { readonly step: "setArgument"; readonly argument: Argument; readonly to?: string | number | boolean }
  | { readonly step: "omitArgument"; readonly argument: Argument }
  | { readonly step: "lowerArgument"; readonly argument: Argument; readonly to?: number }
  | { readonly step: "raiseArgument"; readonly argument: Argument; readonly to?: number }
  /** `because` says what other values do: `0 picks a free one`. */
  | { readonly step: "changeArgument"; readonly argument: Argument; readonly because?: string }
  /** A file that was given under another argument. */
  | { readonly step: "nameFileIn"; readonly argument: Argument }
  /** What is missing: their client can't ask them within a call, or they left it out. */
  | { readonly step: "askUser" }
  /** The nearest of the names there are. */
  | { readonly step: "didYouMean"; readonly names: readonly string[] }
  | { readonly step: "chooseOneOf"; readonly names: readonly string[] }
  // What ollm keeps.
  | { readonly step: "listMemories" }
  | { readonly step: "forgetMemory"; readonly key?: string }
  | { readonly step: "exportMemories" }
  | { readonly step: "listTemplates" }
  | { readonly step: "compareModels" }
  | { readonly step: "pickWinner"; readonly comparison?: string }
  | { readonly step: "listWinners" }
  | { readonly step: "listJobs" }
  // Projects and settings.
  | { readonly step: "approveProject"; readonly folder?: string }
  | { readonly step: "openProject" }
  | { readonly step: "changeSetting"; readonly setting: string; readonly to?: string }
  /** Of settings that an assistant must not change: back to its default when `isUnset`. */
  | { readonly step: "askUserToSet"; readonly setting: string; readonly isUnset?: boolean }
  | { readonly step: "raiseSetting"; readonly setting: string }
  /** Back to its default. */
  | { readonly step: "unsetSetting"; readonly setting: string }
  /** Without `configFile` for a caller that may be on another machine. */
  | { readonly step: "allowFolder"; readonly folder?: string; readonly configFile?: string }
  | { readonly step: "listSettings" }
  | { readonly step: "editSettings" }
  /** Lets requests go to a private address. */
  | { readonly step: "allowHost"; readonly host: string }
  // The daemon and the machine.
  | { readonly step: "showStatus" }
  /** `after` is what the user does first: `move trust.json away`. */
  | { readonly step: "restartDaemon"; readonly after?: string }
  | { readonly step: "stopDaemon" }
  | { readonly step: "checkInstallation" }
  /** Of all commands when `command` is absent. */
  | { readonly step: "showHelp"; readonly command?: string }
  /** Adds ollm to an assistant's settings: to `client`, else to all that are found. */
  | { readonly step: "setUpClient"; readonly client?: string }
  /** Replaces the token of HTTP callers. */
  | { readonly step: "rotateToken" }
  /** The log of loads, unloads and refusals. */
  | { readonly step: "listDecisions" }
  /** The clients that the daemon serves. */
  | { readonly step: "listClients" }
  /** Without `--standalone`. */
  | { readonly step: "shareDaemon" }
  /** With `--standalone`, in a process that needs no daemon. */
  | { readonly step: "startStandalone" }
  /** `to` completes "set OLLM_HOME to": `a folder on another disk`. */
  | { readonly step: "setHome"; readonly to?: string }
  /**
   * The same for every surface: an imperative without a full stop (`free some disk space`). It names no tool, no
   * command, no argument of ours, unless the error is one of a surface itself, which then names its own.
   */
  | { readonly step: "advice"; readonly text: string };

/** One step, or several of which one suffices, the best first. */
export type NextSteps = NextStep | readonly NextStep[];

export function stepsOf(given: NextSteps | undefined): readonly NextStep[] {
  if (given === undefined) return [];
  return "step" in given ? [given] : given;
}

export function advice(text: string): NextStep {
  return { step: "advice", text };
}
