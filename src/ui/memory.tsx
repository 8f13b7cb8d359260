import { useSignal } from "@preact/signals";
import { counted, localTime } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import type { ToolInputs } from "../tools/index.ts";
import { Badge, Button, Card, Dialog, Empty, Failure, Name, Show } from "./components.tsx";
import { useData } from "./data.ts";
import { CheckField, Values, FilterSelect, SelectField, TextBlock, TextField, When } from "./fields.tsx";
import { formatCount, visibleName, visibleText } from "./format.ts";
import { ask, client, notify } from "./state.ts";

type Entry = ResourceData["ollm://memory/{key}"];
type Category = NonNullable<ToolInputs["remember"]["category"]>;

const categories: readonly { readonly value: Category; readonly text: string }[] = [
  { value: "fact", text: "Fact" },
  { value: "preference", text: "Preference" },
  { value: "context", text: "Context" },
];
/** Results of a search. */
const searchLimit = 100;
/** Characters of a value in the list. */
const shownCharacters = 400;

/** An entry of the list: all of it, or what a search returns. */
type Row = Pick<Entry, "key" | "value" | "category" | "scope" | "tags" | "pinned" | "updated_at"> &
  Partial<Pick<Entry, "expires_at" | "project">>;

async function readRows(query: string, category: string) {
  if (query.trim() === "" && category === "") {
    const { entries, total } = await client.readResource("ollm://memory");
    return { rows: entries as readonly Row[], total };
  }
  const found = await client.callTool("recall", {
    limit: searchLimit,
    ...(query.trim() !== "" && { query }),
    ...(category !== "" && { category: category as Category }),
  });
  const rows = found.entries.map(
    ({ category: kind = "fact", scope = "global", tags = [], pinned = false, ...rest }) =>
      ({ ...rest, category: kind, scope, tags, pinned }) as Row,
  );
  return { rows, total: found.total };
}

/** What was remembered: search, edit in place, delete. */
export function Memory() {
  const query = useSignal("");
  const typed = useSignal("");
  const category = useSignal("");
  const editing = useSignal<string | undefined>(undefined);
  const isNew = useSignal(false);
  const found = useData(
    async () => readRows(query.value, category.value),
    ({ kind }) => kind === "memories",
    `${query.value}\n${category.value}`,
  );
  return (
    <Card
      title="Remembered"
      actions={
        <Button kind="primary" onRun={() => void (isNew.value = true)}>
          New entry
        </Button>
      }
    >
      <p class="muted">
        Facts and preferences that assistants and you have saved. Local models get the relevant ones with each prompt,
        pinned ones with every prompt.
      </p>
      <form
        class="search"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          query.value = typed.value;
        }}
      >
        <input
          type="search"
          class="filter"
          data-filter
          aria-label="Search by meaning"
          placeholder="Search by meaning"
          value={typed.value}
          onInput={({ currentTarget }) => {
            typed.value = currentTarget.value;
            if (currentTarget.value === "") query.value = "";
          }}
        />
        <button type="submit" class="button">
          Search
        </button>
        <FilterSelect
          label="Category"
          value={category.value}
          choices={[{ value: "", text: "All categories" }, ...categories]}
          onValue={(value) => (category.value = value)}
        />
      </form>
      <Show of={found}>
        {({ rows, total }) =>
          rows.length === 0 ? (
            <NothingFound isFiltered={query.value !== "" || category.value !== ""} />
          ) : (
            <>
              <ul class="entries">
                {rows.map((row) => (
                  <li key={`${row.scope} ${row.key}`}>
                    {editing.value === row.key ? (
                      <EditEntry entryKey={row.key} onClose={() => void (editing.value = undefined)} />
                    ) : (
                      <EntryRow row={row} onEdit={() => void (editing.value = row.key)} />
                    )}
                  </li>
                ))}
              </ul>
              {total > rows.length && (
                <p class="muted">
                  {rows.length} of {formatCount(total)}. Search to find the others.
                </p>
              )}
            </>
          )
        }
      </Show>
      {isNew.value && (
        <Dialog title="New entry" onClose={() => (isNew.value = false)}>
          <EntryForm onClose={() => (isNew.value = false)} />
        </Dialog>
      )}
    </Card>
  );
}

function NothingFound({ isFiltered }: { readonly isFiltered: boolean }) {
  if (isFiltered) return <p class="muted">No entry matches. Use fewer or other words.</p>;
  return (
    <Empty title="Nothing is remembered yet.">
      <p>Add an entry here, or tell your assistant to remember something.</p>
    </Empty>
  );
}

function EntryRow({ row, onEdit }: { readonly row: Row; readonly onEdit: () => void }) {
  const { key, value, category, scope, tags, pinned, updated_at, expires_at } = row;
  const isCut = value.length > shownCharacters;
  return (
    <article class="entry">
      <header>
        <h3>
          <Name text={key} />
        </h3>
        <div class="row-actions">
          <Button label={`Edit ${key}`} onRun={onEdit}>
            Edit
          </Button>
          <DeleteButton entryKey={key} />
        </div>
      </header>
      <p class="wrap">{visibleText(isCut ? `${value.slice(0, shownCharacters)}…` : value)}</p>
      <p class="tags">
        <Badge>{category}</Badge>
        {scope === "project" && <Badge>project</Badge>}
        {pinned && <Badge tone="good">pinned</Badge>}
        {tags.map((tag) => (
          <Badge key={tag}>#{visibleName(tag)}</Badge>
        ))}
        <span class="muted">
          changed <When iso={updated_at} />
          {expires_at !== undefined && `, until ${localTime(expires_at)}`}
        </span>
      </p>
    </article>
  );
}

function DeleteButton({ entryKey }: { readonly entryKey: string }) {
  return (
    <Button
      label={`Delete ${entryKey}`}
      onRun={async () => {
        const isSure = await ask({
          title: "Delete this entry?",
          text: `${visibleName(entryKey)} is forgotten, also its previous value.`,
          action: "Delete",
          isDangerous: true,
        });
        if (!isSure) return;
        await client.callTool("forget", { key: entryKey, confirm: true });
        notify({ kind: "done", text: `${entryKey} was deleted.` });
      }}
    >
      Delete
    </Button>
  );
}

/** The whole entry, which a list may have cut. */
function EditEntry({ entryKey, onClose }: { readonly entryKey: string; readonly onClose: () => void }) {
  // Not read again on changes: they would overwrite what is being typed.
  const found = useData(
    () => client.readResource("ollm://memory/{key}", { key: entryKey }),
    () => false,
    entryKey,
  );
  return (
    <article class="entry editing" aria-label={`Edit ${visibleName(entryKey)}`}>
      <Show of={found}>{(entry) => <EntryForm entry={entry} onClose={onClose} />}</Show>
    </article>
  );
}

/** Lifetimes, in seconds; 0 is none. */
const lifetimes = [
  { value: "0", text: "Kept until it is deleted" },
  { value: "3600", text: "One hour from now" },
  { value: "86400", text: "One day from now" },
  { value: "604800", text: "One week from now" },
  { value: "2592000", text: "30 days from now" },
] as const;

function EntryForm({ entry, onClose }: { readonly entry?: Entry; readonly onClose: () => void }) {
  const key = useSignal(entry?.key ?? "");
  const value = useSignal(entry?.value ?? "");
  const category = useSignal<Category>(entry?.category ?? "fact");
  const tags = useSignal((entry?.tags ?? []).join(", "));
  const isPinned = useSignal(entry?.pinned ?? false);
  // An entry with a lifetime keeps it unless another one is chosen.
  const lifetime = useSignal(entry?.expires_at === undefined ? "0" : "");
  const isForced = useSignal(false);
  const problem = useSignal<unknown>(undefined);
  const save = async (): Promise<void> => {
    try {
      await client.callTool("remember", {
        key: key.value.trim(),
        value: value.value,
        category: category.value,
        tags: tags.value.split(",").flatMap((tag) => (tag.trim() === "" ? [] : [tag.trim()])),
        pinned: isPinned.value,
        ...(lifetime.value !== "" && { ttl: Number(lifetime.value) }),
        ...(entry !== undefined && { scope: entry.scope }),
        ...(isForced.value && { force: true }),
      });
    } catch (error) {
      problem.value = error;
      return;
    }
    notify({ kind: "done", text: `${key.value.trim()} was saved.` });
    onClose();
  };
  const isSecret = problem.value instanceof Error && /secret/i.test(problem.value.message);
  return (
    <div class="form">
      {problem.value !== undefined && <Failure error={problem.value} />}
      <TextField
        label="Key"
        value={key.value}
        onValue={(text) => (key.value = text)}
        isReadOnly={entry !== undefined}
        hint={entry === undefined ? "Saving under a key that exists replaces its value." : "A key can't be changed."}
      />
      <TextField label="Value" rows={5} value={value.value} onValue={(text) => (value.value = text)} />
      <div class="form-row">
        <SelectField
          label="Category"
          value={category.value}
          choices={categories}
          onValue={(chosen) => (category.value = chosen as Category)}
        />
        <SelectField
          label="Lifetime"
          value={lifetime.value}
          choices={
            entry?.expires_at === undefined
              ? lifetimes
              : [
                  { value: "", text: `Unchanged; starts again on saving (now until ${localTime(entry.expires_at)})` },
                  ...lifetimes,
                ]
          }
          onValue={(chosen) => (lifetime.value = chosen)}
        />
      </div>
      <TextField label="Tags" hint="Separated by commas." value={tags.value} onValue={(text) => (tags.value = text)} />
      <CheckField
        label="Pinned: part of every prompt"
        isChecked={isPinned.value}
        onCheck={(isChecked) => (isPinned.value = isChecked)}
      />
      {isSecret && (
        <CheckField
          label="Save it even though it looks like a secret"
          isChecked={isForced.value}
          onCheck={(isChecked) => (isForced.value = isChecked)}
        />
      )}
      {entry !== undefined && <EntryFacts entry={entry} />}
      <div class="dialog-actions">
        <Button onRun={onClose}>Cancel</Button>
        <Button kind="primary" onRun={save}>
          Save
        </Button>
      </div>
    </div>
  );
}

const sources = { llm: "an assistant", user: "you", system: "an import" } as const;

function EntryFacts({ entry }: { readonly entry: Entry }) {
  const { scope, project, source, created_at, access_count, previous } = entry;
  return (
    <>
      <Values
        rows={[
          ["Scope", scope === "project" ? `project ${visibleName(project ?? "")}` : "all projects"],
          ["Saved by", sources[source]],
          ["First saved", localTime(created_at)],
          ["Used", counted(access_count, "time")],
        ]}
      />
      {previous !== undefined && (
        <>
          <h3>Previous value</h3>
          <TextBlock label="Previous value" text={previous.value} />
        </>
      )}
    </>
  );
}
