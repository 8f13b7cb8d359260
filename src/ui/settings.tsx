import { useSignal } from "@preact/signals";
import { counted, formatBytes } from "../orchestrator/util/format-bytes.ts";
import type { ToolInputs } from "../tools/index.ts";
import { Badge, Button, Card, Empty, Failure, Filter, Show, errorText } from "./components.tsx";
import { useData } from "./data.ts";
import { CheckField, SelectField, TextField, isMatch } from "./fields.tsx";
import { visibleName, visibleText } from "./format.ts";
import { CallError } from "./mcp.ts";
import {
  type Setting,
  editText,
  fixedText,
  groupsOf,
  originOf,
  readingOf,
  shownValue,
  valueOf,
} from "./settings-form.ts";
import { ask, client, notify } from "./state.ts";

/** Every setting: what it is, where it comes from, and a field to change it. */
export function Settings() {
  const found = useData(
    () => client.readResource("ollm://settings"),
    ({ kind }) => kind === "tools",
  );
  const query = useSignal("");
  const isChanged = useSignal(false);
  return (
    <Show of={found}>
      {({ settings, problem }) => {
        // A search shows what it found; without one there would be more than a screen can hold.
        const isOpen = query.value !== "" || isChanged.value;
        const groups = groupsOf(
          settings,
          ({ path, description, source, value }) =>
            isMatch(query.value, path, description, shownValue(value)) && (!isChanged.value || source !== "default"),
        );
        return (
          <>
            {problem !== undefined && <Failure error={problem} />}
            <div class="toolbar">
              <Filter label="Search settings" onFilter={(text) => (query.value = text)} />
              <CheckField
                label="Changed settings only"
                isChecked={isChanged.value}
                onCheck={(isOn) => (isChanged.value = isOn)}
              />
            </div>
            {groups.length === 0 && (
              <Empty title="No setting matches.">
                <p>Use fewer or other words; names and meanings are searched.</p>
              </Empty>
            )}
            {groups.map(({ name, settings: own }) => (
              <details key={name} class="card" open={isOpen}>
                <summary>
                  <h2>{visibleName(name)}</h2> <span class="muted">{countText(own)}</span>
                </summary>
                <ul class="settings">
                  {own.map((setting) => (
                    <li key={setting.path}>
                      <SettingRow setting={setting} onChanged={found.reload} />
                    </li>
                  ))}
                </ul>
              </details>
            ))}
            <ByPath onChanged={found.reload} />
          </>
        );
      }}
    </Show>
  );
}

/** `12 settings, 2 changed` */
function countText(settings: readonly Setting[]): string {
  const changed = settings.filter(({ source }) => source !== "default").length;
  return `${counted(settings.length, "setting")}${changed === 0 ? "" : `, ${changed} changed`}`;
}

function SettingRow({ setting, onChanged }: { readonly setting: Setting; readonly onChanged: () => void }) {
  const isOpen = useSignal(false);
  const { path, value, description, source, allowed } = setting;
  const origin = originOf(source);
  const reading = readingOf(setting, formatBytes);
  return (
    <div class="setting">
      <div class="setting-name">
        <code>{visibleName(path)}</code>
        <p class="muted">{visibleName(description ?? "")}</p>
      </div>
      {isOpen.value ? (
        <SettingForm
          setting={setting}
          onClose={() => (isOpen.value = false)}
          onChanged={onChanged}
          hint={`Allowed: ${visibleName(allowed)}.`}
        />
      ) : (
        <>
          <div class="setting-value">
            <p class="wrap">
              <span class={value === undefined ? "muted" : "value"}>{visibleText(shownValue(value))}</span>
              {reading !== undefined && <span class="muted"> ({reading})</span>}
            </p>
            {!origin.isDefault && (
              <p>
                <Badge tone={origin.isFixed ? "plain" : "good"}>{visibleName(origin.text)}</Badge>
              </p>
            )}
            {origin.isFixed && <p class="muted wrap">{visibleName(fixedText(source))}</p>}
          </div>
          <div class="row-actions">
            {!origin.isDefault && !origin.isFixed && <ResetButton setting={setting} onChanged={onChanged} />}
            {origin.isFixed || (
              <Button label={`Edit ${path}`} onRun={() => void (isOpen.value = true)}>
                Edit
              </Button>
            )}
          </div>
        </>
      )}
    </div>
  );
}

function ResetButton({ setting, onChanged }: { readonly setting: Setting; readonly onChanged: () => void }) {
  const { path } = setting;
  return (
    <Button
      kind="quiet"
      label={`Reset ${path} to its default`}
      onRun={async () => {
        if (!(await mayChange(setting, `${path} gets its default again.`))) return;
        await client.callTool("update_config", { action: "unset", path }, { isConfirmed: true });
        notify({ kind: "done", text: `${path} has its default again.` });
        onChanged();
      }}
    >
      Reset
    </Button>
  );
}

/** Asks before a setting that widens network or file access is changed. */
async function mayChange({ is_guarded }: Pick<Setting, "is_guarded">, text: string): Promise<boolean> {
  if (!is_guarded) return true;
  return ask({
    title: "Change this setting?",
    text: `${visibleName(text)} It may widen access to the network or to files, so it is changed only after you agree.`,
    action: "Change it",
  });
}

function SettingForm({
  setting,
  onClose,
  onChanged,
  hint,
}: {
  readonly setting: Setting;
  readonly onClose: () => void;
  readonly onChanged: () => void;
  readonly hint: string;
}) {
  const { path, kind, choices, value } = setting;
  const text = useSignal(editText(setting));
  const problem = useSignal<string | undefined>(undefined);
  const save = async (): Promise<void> => {
    const typed = valueOf(kind, text.value);
    if ("problem" in typed) {
      problem.value = typed.problem;
      return;
    }
    if (!(await mayChange(setting, `${path} becomes ${shownValue(typed.value)}.`))) return;
    problem.value = await change(path, typed.value);
    if (problem.value !== undefined) return;
    onChanged();
    onClose();
  };
  const control = {
    label: `New value of ${visibleName(path)}`,
    hint: value === "***" ? `${hint} The present value is a secret and is not shown.` : hint,
    problem: problem.value,
    value: text.value,
    onValue: (given: string) => void (text.value = given),
  };
  return (
    <form
      class="form setting-value"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <Control kind={kind} choices={choices} {...control} />
      <div class="toolbar">
        <Button kind="primary" onRun={save}>
          Save
        </Button>
        <Button onRun={onClose}>Cancel</Button>
      </div>
    </form>
  );
}

interface ControlProps {
  readonly kind: Setting["kind"];
  readonly choices: Setting["choices"] | undefined;
  readonly label: string;
  readonly hint: string;
  readonly problem: string | undefined;
  readonly value: string;
  readonly onValue: (text: string) => void;
}

function Control({ kind, choices, ...field }: ControlProps) {
  const { value, hint } = field;
  const options = kind === "boolean" ? ["true", "false"] : kind === "text" ? choices : undefined;
  if (options !== undefined) {
    const none = options.includes(value) ? [] : [{ value, text: "–" }];
    return (
      <SelectField {...field} choices={[...none, ...options.map((option) => ({ value: option, text: option }))]} />
    );
  }
  if (kind === "list") return <TextField {...field} rows={4} hint={`${hint} One a line.`} />;
  if (kind === "json") return <TextField {...field} rows={6} hint={`${hint} As JSON.`} />;
  return <TextField {...field} kind={kind === "number" ? "number" : "text"} />;
}

type Value = NonNullable<ToolInputs["update_config"]["value"]>;

/** The problem, in the words of the daemon; undefined if the setting was changed. */
async function change(path: string, value: Value): Promise<string | undefined> {
  try {
    // Where the tool asks its user, this user has been asked by the page.
    const { settings, problem } = await client.callTool(
      "update_config",
      { action: "set", path, value },
      { isConfirmed: true },
    );
    const [now] = settings;
    notify({ kind: "done", text: `${path} is now ${shownValue(now?.value)} (${originOf(now?.source ?? "").text}).` });
    return problem;
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    return visibleText(errorText(error));
  }
}

/** For entries that are not there yet, such as a profile or the options of a model. */
function ByPath({ onChanged }: { readonly onChanged: () => void }) {
  const path = useSignal("");
  const text = useSignal("");
  const problem = useSignal<string | undefined>(undefined);
  const save = async (): Promise<void> => {
    if (path.value.trim() === "") {
      problem.value = "Enter the path of a setting.";
      return;
    }
    // What it is about decides whether it is asked for; the daemon knows each path, the page only those that have a value.
    const isSure = await mayChange({ is_guarded: true }, `${path.value.trim()} is set.`);
    if (!isSure) return;
    const typed = valueOf("json", text.value);
    problem.value = "problem" in typed ? typed.problem : await change(path.value.trim(), typed.value);
    if (problem.value !== undefined) return;
    path.value = "";
    text.value = "";
    onChanged();
  };
  return (
    <Card title="Add a setting by its path">
      <div class="form">
        <div class="form-row">
          <TextField
            label="Path"
            hint={'For example models["qwen*"].contextTokens or profiles.legal'}
            value={path.value}
            onValue={(given) => (path.value = given)}
            problem={problem.value}
          />
          <TextField
            label="Value"
            hint="A text, a number, or JSON."
            value={text.value}
            onValue={(given) => (text.value = given)}
          />
        </div>
        <div class="toolbar">
          <Button onRun={save}>Set</Button>
        </div>
      </div>
    </Card>
  );
}
