import { formatBytes } from "../orchestrator/util/format-bytes.ts";
import { aboutArguments, argumentNames, common, modelThat, type StepTable } from "./render.ts";

const flags = argumentNames("flag");

/** Steps for a person at a shell: commands and flags. */
export const commandSteps: StepTable = {
  ...common,
  ...aboutArguments(flags),
  pullModel: ({ model, engine, because }) =>
    `run \`ollm pull ${model}${engine === undefined ? "" : ` --engine ${engine}`}\`${because === undefined ? "" : ` (${because})`}`,
  pullModelThat: ({ that, example }) => `pull ${modelThat(that, example)} (\`ollm pull NAME\`)`,
  resumePull: ({ model = "NAME" }) => `run \`ollm pull ${model}\` again to resume the download`,
  importModel: () => "download the GGUF file in a browser or on another machine and run `ollm import FILE NAME`",
  listModels: ({ capability }) =>
    capability === undefined
      ? "run `ollm models` to see the installed models"
      : `run \`ollm models --verbose\` to see which models have ${capability}`,
  chooseModel: ({ that }) =>
    `choose ${that === undefined ? "another model" : modelThat(that, undefined)} (\`ollm models\` lists them)`,
  useModel: ({ model, because }) => `use ${model}${because === undefined ? "" : ` (${because})`}`,
  deleteModel: ({ model }) =>
    model === undefined ? "delete models that you don't use (`ollm rm NAME`)" : `run \`ollm rm ${model}\``,
  tidyModels: () => "run `ollm tidy`, which asks before it deletes any",
  pullModelAfresh: ({ model }) => `run \`ollm rm ${model}\` and \`ollm pull ${model}\``,
  pinModel: ({ model }) => `run \`ollm pin ${model}\``,
  unpinModels: ({ models }) => `run ${models.map((model) => `\`ollm unpin ${model}\``).join(", ")}`,
  unloadModel: ({ model }) => `run \`ollm unload ${model ?? "--all"}\``,
  planLoad: ({ model }) => `run \`ollm load ${model} --dry-run\` to see the numbers`,
  installEngine: ({ downloadBytes }) => `run \`ollm setup --engine\` (a ${formatBytes(downloadBytes)} download)`,
  retry: () => "try again",
  retryWhenIdle: () => "try again when its requests are done",
  startConversation: () => "start a new conversation",
  correctArguments: () => "correct the arguments and try again",
  setArgument: ({ argument, to }) =>
    to === undefined
      ? `give ${flags[argument]}`
      : to === true
        ? `add ${flags[argument]}`
        : `use ${flags[argument]} ${to}`,
  nameFileIn: ({ argument }) => `give the file with ${flags[argument]}`,
  askUser: () => "give the missing value",
  listMemories: () => "run `ollm memory list` to see the keys",
  forgetMemory: ({ key }) => `run \`ollm memory forget ${key ?? "KEY"}\``,
  listTemplates: () => "run `ollm template list` to see the templates",
  compareModels: () => "run `ollm compare PROMPT` first",
  listWinners: () => "run `ollm winners` to see your picks",
  listJobs: () => "run `ollm status` to see what is running",
  approveProject: ({ folder }) => `run \`ollm project trust\`${folder === undefined ? "" : ` in ${folder}`}`,
  openProject: () => "change to the project's folder",
  changeSetting: ({ setting, to }) => `run \`ollm config set ${quoted(setting)} ${to ?? "VALUE"}\``,
  askUserToSet: ({ setting, isUnset }) =>
    isUnset === true ? `run \`ollm config unset '${setting}'\`` : `run \`ollm config set '${setting}' VALUE\``,
  raiseSetting: ({ setting }) => `raise ${setting} (\`ollm config set ${setting} NUMBER\`)`,
  unsetSetting: ({ setting }) => `run \`ollm config unset '${setting}'\``,
  listSettings: () => "run `ollm config show` to see the settings",
  allowHost: ({ host }) => `if you trust this host, add ${host} to network.allowedHosts (\`ollm config edit\`)`,
  editSettings: () => "correct the file (`ollm config edit`)",
  showStatus: () => "run `ollm status` to see what is wrong",
  showHelp: ({ command }) => `run \`ollm ${command === undefined ? "" : `${command} `}--help\` to see the options`,
  listDecisions: () => "run `ollm decisions` to see what was loaded and unloaded",
};

const chatNames = argumentNames("chat");

/** What is typed for an argument that a command of the chat has; `otherwise` for others. */
function typed(argument: keyof typeof chatNames, value: string, otherwise: string): string {
  const name = chatNames[argument];
  return name.startsWith("/") ? `type ${name} ${value}` : `${otherwise} ${name}`;
}

/** Steps for a person in `ollm chat`: its own commands where it has one, else those of the shell. */
export const chatSteps: StepTable = {
  ...commandSteps,
  listModels: (step) => (step.capability === undefined ? "type /model list" : commandSteps.listModels(step)),
  chooseModel: ({ that }) =>
    `choose ${that === undefined ? "another model" : modelThat(that, undefined)} (/model list, /model use NAME)`,
  useModel: ({ model, because }) => `type /model use ${model}${because === undefined ? "" : ` (${because})`}`,
  unpinModels: ({ models }) => `type ${models.map((model) => `/model unpin ${model}`).join(", ")}`,
  unloadModel: ({ model }) =>
    model === undefined ? commandSteps.unloadModel({ step: "unloadModel" }) : `type /model unload ${model}`,
  listMemories: () => "type /memory list",
  forgetMemory: ({ key }) => `type /memory forget ${key ?? "KEY"}`,
  listTemplates: () => "type /template list",
  compareModels: () => "type /compare PROMPT first",
  setArgument: ({ argument, to }) =>
    typed(argument, to === undefined ? "VALUE" : to === true ? "on" : String(to), "give"),
  omitArgument: ({ argument }) =>
    chatNames[argument].startsWith("/set") ? typed(argument, "default", "") : `leave out ${chatNames[argument]}`,
  changeArgument: ({ argument, because }) =>
    `${typed(argument, "VALUE", "choose another")}${because === undefined ? "" : ` (${because})`}`,
  nameFileIn: ({ argument }) => typed(argument, "PATH", "give the file with"),
  lowerArgument: ({ argument, to }) => typed(argument, String(to ?? "NUMBER"), "lower"),
  raiseArgument: ({ argument, to }) => typed(argument, String(to ?? "NUMBER"), "raise"),
};

/** A setting's path as an argument for a shell, which would remove the quotes in it. */
function quoted(setting: string): string {
  return /^[\w.]+$/.test(setting) ? setting : `'${setting}'`;
}
