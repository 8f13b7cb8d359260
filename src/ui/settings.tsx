import { useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { counted, formatBytes } from "../orchestrator/util/format-bytes.ts";
import { Badge, Button, Card, Empty, Failure, Show } from "./components.tsx";
import { useData } from "./data.ts";
import { Filter, CheckField, Form, type Property, isMatch } from "./fields.tsx";
import { visibleName, visibleText } from "./format.ts";
import { CallError, errorText } from "./mcp.ts";
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
import { ask, client, notify, route } from "./state.ts";

/** Every setting: what it is, where it comes from, and a field to change it. The address may say what to find. */
export function Settings() {
  const found = useData(() => client.readResource("ollm://settings"), ["tools"]);
  const query = useSignal("");
  const { query: asked } = route.value;
  useLayoutEffect(() => void (query.value = new URLSearchParams(asked).get("find") ?? query.value), [asked]);
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
              <Filter label="Search settings" query={query} />
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
  const { path, value, description, source } = setting;
  const origin = originOf(source);
  const reading = readingOf(setting, formatBytes);
  return (
    <div class="setting">
      <div class="setting-name">
        <code>{visibleName(path)}</code>
        <p class="muted">{visibleName(description ?? "")}</p>
      </div>
      {isOpen.value ? (
        <SettingForm setting={setting} onClose={() => (isOpen.value = false)} onChanged={onChanged} />
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
            {origin.isFixed || <Button text="Edit" of={path} onRun={() => void (isOpen.value = true)} />}
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
      text="Reset"
      kind="quiet"
      label={`Reset ${path} to its default`}
      onRun={async () => {
        await client.callTool("update_config", { action: "unset", path }, { isConfirmed: mayChange });
        notify({ kind: "done", text: `${path} has its default again.` });
        onChanged();
      }}
    />
  );
}

/** Asks what the daemon asks before it changes some settings. */
function mayChange(question: string): Promise<boolean> {
  return ask({ title: "Change this setting?", text: visibleText(question), action: "Change it" });
}

function SettingForm(props: {
  readonly setting: Setting;
  readonly onClose: () => void;
  readonly onChanged: () => void;
}) {
  const { setting, onClose, onChanged } = props;
  const { path, kind } = setting;
  const save = async ({ text }: Record<"text", string>) => {
    const problem = await change(path, valueOf(kind, text));
    if (problem !== undefined) return problemAt("text", problem);
    onChanged();
    onClose();
    return undefined;
  };
  return (
    <Form
      isInline
      rows={[{ text: propertyOf(setting) }]}
      initial={{ text: editText(setting) }}
      onSave={save}
      onCancel={onClose}
    />
  );
}

const problemAt = <Field extends string>(field: Field, message: string) => ({ field, message });

function propertyOf({ path, kind, choices, value, allowed }: Setting): Property {
  const secret = value === "***" ? " The present value is a secret and is not shown." : "";
  const form = kind === "list" ? " One a line." : kind === "json" ? " As JSON." : "";
  const field = {
    title: `New value of ${visibleName(path)}`,
    description: `Allowed: ${visibleName(allowed)}.${secret}${form}`,
  };
  const options = kind === "boolean" ? ["true", "false"] : kind === "text" ? choices : undefined;
  if (options !== undefined) {
    const text = editText({ kind, value });
    const none = options.includes(text) ? [] : [{ value: text, text: "–" }];
    return { ...field, choices: [...none, ...options] };
  }
  if (kind === "list") return { ...field, lines: 4 };
  return kind === "json" ? { ...field, lines: 6 } : { ...field, type: kind === "number" ? "number" : "string" };
}

/** The problem, of the form or in the words of the daemon; undefined if the setting was changed. */
async function change(path: string, typed: ReturnType<typeof valueOf>): Promise<string | undefined> {
  if ("problem" in typed) return typed.problem;
  try {
    const set = { action: "set", path, value: typed.value } as const;
    const { settings, problem } = await client.callTool("update_config", set, { isConfirmed: mayChange });
    const [now] = settings;
    notify({ kind: "done", text: `${path} is now ${shownValue(now?.value)} (${originOf(now?.source ?? "").text}).` });
    return problem;
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    return errorText(error);
  }
}

/** For entries that are not there yet, such as a profile or the options of a model. */
function ByPath({ onChanged }: { readonly onChanged: () => void }) {
  // Each one that was set leaves an empty form.
  const count = useSignal(0);
  const save = async ({ path, text }: Record<"path" | "text", string>) => {
    const name = path.trim();
    if (name === "") return problemAt("path", "Enter the path of a setting.");
    const problem = await change(name, valueOf("json", text));
    if (problem !== undefined) return problemAt("path", problem);
    count.value += 1;
    onChanged();
    return undefined;
  };
  return (
    <Card title="Add a setting by its path">
      <Form
        key={count.value}
        isInline
        rows={[
          {
            path: { title: "Path", description: 'For example models["qwen*"].contextTokens or profiles.legal' },
            text: { title: "Value", description: "A text, a number, or JSON." },
          },
        ]}
        initial={{ path: "", text: "" }}
        action="Set"
        onSave={save}
      />
    </Card>
  );
}
