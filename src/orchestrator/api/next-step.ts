/** A parameter of a request under a neutral name; each surface has its own name for it (`max_tokens`, `--max-tokens`). */
export type Argument =
  | "audio"
  | "base"
  | "bind"
  | "check"
  | "confirm"
  | "context"
  | "engine"
  | "files"
  | "force"
  | "format"
  | "images"
  | "judge"
  | "keepAlive"
  | "key"
  | "maxTokens"
  | "model"
  | "models"
  | "noToken"
  | "overwrite"
  | "port"
  | "profile"
  | "prompt"
  | "scope"
  | "split"
  | "temperature"
  | "template"
  | "think"
  | "value"
  | "variables";

/**
 * What a caller can do about an error, as data, without names of tools and commands. Each surface renders it by a
 * table of its own (`src/next-steps/`), whose type keeps it complete. Sizes are in bytes, windows and prompts in tokens.
 */
export type NextStep =
  // Models.
  | { readonly step: "pullModel"; readonly model: string; readonly engine?: string; readonly because?: string }
  /** `that` completes "a model": `that has vision`, `below 3.2 GB`. */
  | { readonly step: "pullModelThat"; readonly that: string; readonly example?: string }
  /** Continues a download with the data received so far. */
  | { readonly step: "resumePull"; readonly model?: string }
  /** From a GGUF file. */
  | { readonly step: "importModel" }
  | { readonly step: "listModels"; readonly capability?: string }
  /** `that` completes "a model": `on this machine`, `with a longer context window`. */
  | { readonly step: "chooseModel"; readonly argument?: Argument; readonly that?: string }
  /** `because` completes the name: `3.0 GB, fits`. */
  | { readonly step: "useModel"; readonly model: string; readonly because?: string }
  | { readonly step: "deleteModel"; readonly model?: string }
  /** Lists models that were not used for a long time, and deletes those that the user chooses. */
  | { readonly step: "tidyModels" }
  /** Deletes a model whose file may be damaged, and pulls it again. */
  | { readonly step: "pullModelAfresh"; readonly model: string }
  | { readonly step: "pinModel"; readonly model: string }
  | { readonly step: "unpinModels"; readonly models: readonly string[] }
  /** Without `model`: all loaded models. */
  | { readonly step: "unloadModel"; readonly model?: string }
  /** Shows the memory that a load would need, without loading. */
  | { readonly step: "planLoad"; readonly model: string }
  | { readonly step: "installEngine"; readonly downloadBytes: number }
  /** Shows the forms that a model's name may have. */
  | { readonly step: "useModelName" }
  // The request.
  | { readonly step: "shortenPrompt"; readonly byTokens?: number }
  | { readonly step: "retry" }
  /** Once the model that the request would unload has no running requests. */
  | { readonly step: "retryWhenIdle" }
  | { readonly step: "startConversation" }
  | { readonly step: "correctArguments" }
  | { readonly step: "setArgument"; readonly argument: Argument; readonly to?: string | number | boolean }
  | { readonly step: "omitArgument"; readonly argument: Argument }
  | { readonly step: "lowerArgument"; readonly argument: Argument; readonly to?: number }
  | { readonly step: "raiseArgument"; readonly argument: Argument; readonly to?: number }
  /** `because` describes other values: `0 picks a free one`. */
  | { readonly step: "changeArgument"; readonly argument: Argument; readonly because?: string }
  /** For a file that was passed in another argument. */
  | { readonly step: "nameFileIn"; readonly argument: Argument }
  /** For a missing input that the client could not ask for, or that the user left empty. */
  | { readonly step: "askUser" }
  /** The most similar existing names. */
  | { readonly step: "didYouMean"; readonly names: readonly string[] }
  | { readonly step: "chooseOneOf"; readonly names: readonly string[] }
  // Memories, templates, comparisons and jobs.
  | { readonly step: "listMemories" }
  | { readonly step: "forgetMemory"; readonly key?: string }
  | { readonly step: "listTemplates" }
  | { readonly step: "compareModels" }
  | { readonly step: "listWinners" }
  | { readonly step: "listJobs" }
  // Projects and settings.
  | { readonly step: "approveProject"; readonly folder?: string }
  | { readonly step: "openProject" }
  | { readonly step: "changeSetting"; readonly setting: string; readonly to?: string }
  /** For settings that an assistant must not change; with `isUnset` the setting returns to its default. */
  | { readonly step: "askUserToSet"; readonly setting: string; readonly isUnset?: boolean }
  | { readonly step: "raiseSetting"; readonly setting: string }
  /** Returns a setting to its default. */
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
  /** Without `command`: of all commands. */
  | { readonly step: "showHelp"; readonly command?: string }
  /** Adds ollm to the config of `client`, else of all clients found. */
  | { readonly step: "setUpClient"; readonly client?: string }
  /** Replaces the token for HTTP access. */
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
   * The same text on every surface: an imperative without a full stop (`free some disk space`). It contains no names of
   * tools, commands and arguments, except in errors that a surface itself throws.
   */
  | { readonly step: "advice"; readonly text: string };

/** One step, or alternatives, the best first. */
export type NextSteps = NextStep | readonly NextStep[];

export function stepsOf(given: NextSteps = []): readonly NextStep[] {
  return [given].flat();
}

export function advice(text: string): NextStep {
  return { step: "advice", text };
}
