import { advice, type NextStep } from "../orchestrator/api/next-step.ts";
import { formatBytes } from "../orchestrator/util/format-bytes.ts";
import { aboutArguments, argumentNames, common, modelThat, quoted, type StepTable } from "./render.ts";

const names = argumentNames("tool");

/** Steps for an assistant: tools and their arguments; commands only for what the user must do. */
export const toolSteps: StepTable = {
  ...common,
  ...aboutArguments(names),
  pullModel: ({ model, engine, because }) =>
    `call pull_model with model "${model}"${engine === undefined ? "" : ` and engine "${engine}"`}${because === undefined ? "" : ` (${because})`}`,
  pullModelThat: ({ that, example }) => `call pull_model with ${modelThat(that, example)}`,
  resumePull: () => "call pull_model again to resume the download",
  importModel: () =>
    "let the user download the GGUF file in a browser or on another machine, and call pull_model with from",
  listModels: ({ capability }) =>
    capability === undefined
      ? "call list_models to see the installed models"
      : `call list_models with capability ${capability} to see the models that have it`,
  chooseModel: ({ argument = "model", that }) =>
    `name ${that === undefined ? "a model" : modelThat(that, undefined)} in ${names[argument]} (list_models shows them)`,
  useModel: ({ model, because }) => `use model "${model}"${because === undefined ? "" : ` (${because})`}`,
  deleteModel: ({ model }) =>
    `call manage_model with action delete${model === undefined ? " for a model that you don't use" : ` and model "${model}"`}`,
  tidyModels: () => "let the user run `ollm tidy`, which lists them and asks before it deletes any",
  pullModelAfresh: ({ model }) =>
    `delete the model (manage_model with action delete) and call pull_model with model "${model}" again`,
  pinModel: ({ model }) => `call manage_model with action pin and model "${model}"`,
  unpinModels: ({ models }) => `call manage_model with action unpin for ${models.join(", ")}`,
  unloadModel: ({ model }) =>
    model === undefined
      ? "unload models (manage_model with action unload_all)"
      : `call manage_model with action unload and model "${model}"`,
  planLoad: ({ model }) => `call smart_load with model "${model}" and dry_run to see the numbers`,
  installEngine: ({ downloadBytes }) =>
    `call smart_load or pull_model: either installs it (a ${formatBytes(downloadBytes)} download)`,
  retry: () => "call again",
  retryWhenIdle: () => "call again when its requests are done",
  startConversation: () => 'start a conversation with continue_id "new"',
  correctArguments: () => "correct the arguments and call again",
  setArgument: ({ argument, to }) =>
    to === undefined
      ? `give ${names[argument]}`
      : `set ${names[argument]} to ${typeof to === "string" ? `"${to}"` : to}`,
  nameFileIn: ({ argument }) => `name the file in ${names[argument]}`,
  askUser: () => "ask the user, then call again with the answer",
  listMemories: () => "call recall without a key to see what is remembered",
  forgetMemory: ({ key }) => (key === undefined ? "call forget" : `call forget with key "${key}"`),
  listTemplates: () => "call list_templates to see the templates",
  compareModels: () => "call compare first",
  listWinners: () => "call pick_winner with action list to see your picks",
  listJobs: () => "call job with action list to see the jobs",
  approveProject: ({ folder }) =>
    `ask the user to run \`ollm project trust\`${folder === undefined ? " in the project's folder" : ` in ${folder}`}`,
  openProject: () => "start the client in the project's folder, or set folder to the project's folder",
  changeSetting: ({ setting, to }) => (to === undefined ? `change the setting ${setting}` : `set ${setting} to ${to}`),
  askUserToSet: ({ setting, isUnset }) =>
    `ask the user to run \`ollm config ${isUnset === true ? `unset '${setting}'` : `set '${setting}' VALUE`}\``,
  raiseSetting: ({ setting }) => `raise the setting ${setting}`,
  unsetSetting: ({ setting }) => `call update_config with action unset and path ${setting}`,
  listSettings: () => "call update_config with action show to see the settings",
  allowFolder: ({ folder, configFile }) =>
    configFile === undefined
      ? "tell the user: only they can allow a folder, where the server runs"
      : `tell the user: only they can allow it, with \`ollm setup --root ${folder === undefined ? "DIR" : quoted(folder)}\` and a restart of this client`,
  allowHost: ({ host }) => `if you trust this host, add ${host} to the setting network.allowedHosts`,
  editSettings: () => "correct config.yaml (`ollm config edit` opens it)",
  showStatus: () => "call system_status to see what is wrong",
  showHelp: ({ command }) => `run \`ollm ${command === undefined ? "" : `${command} `}--help\``,
  listDecisions: () => "run `ollm decisions`",
};

/**
 * The steps after a failed delegation, for the assistant: at last, that it does the work itself. `mayLeave` is false
 * where the text was kept on this machine on purpose, and the assistant's own model is elsewhere.
 */
export function orDoItYourself(next: readonly NextStep[], mayLeave = true): readonly NextStep[] {
  if (!mayLeave)
    return [...next, advice("do the task yourself only if the user agrees that its text leaves this machine")];
  return [...next, advice("do the task yourself")];
}
