import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import type { ShownSetting } from "../orchestrator/api/facade-status.ts";
import type { NextStep } from "../orchestrator/api/next-step.ts";
import { isShell } from "../orchestrator/api/types.ts";
import { hideKeys } from "../orchestrator/util/control-characters.ts";
import { confirmation, defineTool } from "./definition.ts";
import { defined } from "../orchestrator/util/values.ts";

export const updateConfig = defineTool({
  name: "update_config",
  title: "Settings",
  description:
    "show: settings, values and their sources. set, unset: change config.yaml, in effect at once; " +
    "asks the user about those that do more than tune local models.",
  effect: "destroy",
  set: "extra",
  input: z.strictObject({
    action: z.enum(["show", "set", "unset"]),
    path: z.string().min(1).optional().describe('options.temperature, models["qwen*"].contextTokens'),
    value: z
      .union([z.string(), z.number(), z.boolean(), z.array(z.string()), z.record(z.string(), z.unknown())])
      .optional(),
  }),
  output: z.object({
    settings: z.array(
      z.object({ path: z.string(), value: z.unknown().optional(), source: z.string(), scope: z.string() }),
    ),
    problem: z.string().optional(),
  }),
  async run({ action, path, value }, { orchestrator, caller, answers }) {
    const { settings } = orchestrator;
    const answer = (shown: readonly ShownSetting[]) => ({
      data: defined({ settings: shown.map(defined), problem: settings.problem() }),
    });
    if (action === "show") return answer(await settings.show(caller, path));
    if (path === undefined) {
      throw new InvalidRequest(`update_config ${action} needs a path`, { next: { step: "listSettings" } });
    }
    if (action === "set" && value === undefined) {
      throw new InvalidRequest(`update_config set ${path} needs a value`, {
        next: [
          { step: "setArgument", argument: "value" },
          { step: "unsetSetting", setting: path },
        ],
      });
    }
    // An invalid value is refused before the user is asked about it.
    const why = await settings.whyAsk(caller, path, action === "set" ? value : undefined);
    if (why !== undefined && answers?.["confirm"] !== true) {
      const what =
        action === "unset" ? `Remove ${path} from the settings` : `Set ${path} to ${hideKeys(JSON.stringify(value))}`;
      const asked = isShell(caller.client) ? "You are asked because" : "An assistant requests it, and";
      const { needsInput } = confirmation(`${what}? ${asked} ${why}.`, "true changes the setting");
      // A text that the assistant read may have caused the request.
      const userOnly: NextStep = { step: "askUserToSet", setting: path, ...(action === "unset" && { isUnset: true }) };
      return { needsInput: { ...needsInput, userOnly } };
    }
    return answer([action === "set" ? await settings.set(caller, path, value) : await settings.unset(caller, path)]);
  },
  render({ settings, problem }) {
    const lines = settings.map(
      ({ path, value, source }) => `${path}: ${value === undefined ? "unset" : JSON.stringify(value)} (${source})`,
    );
    return [...lines, ...(problem === undefined ? [] : [problem])].join("\n");
  },
});
