import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Button, Dialog } from "./components.tsx";
import { useData } from "./data.ts";
import { isMatch } from "./fields.tsx";
import { visibleName } from "./format.ts";
import { load, pull, setPinned, unload } from "./model-actions.ts";
import { groupsOf } from "./settings-form.ts";
import { addressOf, client } from "./state.ts";

/** What can be opened or done. */
interface Entry {
  readonly text: string;
  readonly run: () => Promise<void> | void;
}

const shownEntries = 10;

/** Pages, models and settings by a few letters of their names. `pages`: by their names in the address. */
export function Palette(props: { readonly pages: readonly (readonly [id: string, title: string])[]; onClose(): void }) {
  const { pages, onClose } = props;
  const query = useSignal("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const listed = useData(() => client.callTool("list_models", { limit: 1_000 }), ["models", "memory"]);
  const known = useData(() => client.readResource("ollm://settings"), []);
  const open = (address: string) => () => void (location.hash = address);
  const entries: readonly Entry[] = [
    ...pages.map(([id, title]) => ({ text: title, run: open(addressOf(id)) })),
    ...(listed.data.value?.models ?? []).flatMap(({ name, is_loaded: isLoaded, is_pinned: isPinned, refuses = [] }) =>
      [
        {
          action: "load",
          text: `${isLoaded ? "Unload" : "Load"} ${name}`,
          run: () => (isLoaded ? unload : load)(name),
        },
        { action: "pin", text: `${isPinned ? "Unpin" : "Pin"} ${name}`, run: () => setPinned(name, isPinned !== true) },
      ].filter(({ action }) => !refuses.some((each) => each === action)),
    ),
    ...groupsOf(known.data.value?.settings ?? [], () => true).flatMap(({ settings }) =>
      settings.map(({ path }) => ({
        text: `Setting ${path}`,
        run: open(addressOf("settings", new URLSearchParams({ find: path }).toString())),
      })),
    ),
  ];
  const matching = entries.filter(({ text }) => isMatch(query.value.trim(), text));
  const wanted = /^pull (\S+)$/i.exec(query.value.trim())?.[1];
  const shown = [
    ...(wanted === undefined ? [] : [{ text: `Pull ${wanted}`, run: () => pull(wanted) }]),
    ...matching.slice(0, shownEntries),
  ];
  const choose = ({ run }: Entry): Promise<void> | void => {
    onClose();
    return run();
  };
  return (
    <Dialog title="Open or do" onClose={onClose}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          document.querySelector<HTMLElement>("dialog .palette button")?.click();
        }}
      >
        <input
          ref={field}
          type="search"
          aria-label="A page, a model, a setting"
          placeholder="A page, a model, a setting; or: pull NAME"
          value={query.value}
          onInput={({ currentTarget }) => (query.value = currentTarget.value)}
        />
      </form>
      <ul class="stack palette">
        {shown.map((entry) => (
          <li key={entry.text}>
            <Button kind="link" text={visibleName(entry.text)} onRun={() => choose(entry)} />
          </li>
        ))}
      </ul>
      <p class="muted" role="status">
        {matching.length > shownEntries ? `and ${matching.length - shownEntries} more` : ""}
        {shown.length === 0 ? "Nothing has that name." : ""}
      </p>
    </Dialog>
  );
}
