import { useSignal } from "@preact/signals";
import { counted, localTime } from "../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../resources/index.ts";
import type { ToolAnswers, ToolInputs } from "../tools/index.ts";
import { Badge, Button, Card, Dialog, Empty, Name, Show } from "./components.tsx";
import { useData } from "./data.ts";
import { Fields, FilterSelect, Form, type Rows, TextBlock, Values, When } from "./fields.tsx";
import { formatCount, partsOf, visibleName, visibleText } from "./format.ts";
import { client, notify } from "./state.ts";

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
type Row = ToolAnswers["recall"]["entries"][number] & Partial<Pick<Entry, "expires_at">>;

async function readRows(query: string, category: string): Promise<{ readonly rows: readonly Row[]; total: number }> {
  if (query.trim() === "" && category === "") {
    const { entries, total } = await client.readResource("ollm://memory");
    return { rows: entries, total };
  }
  const { entries, total } = await client.callTool("recall", {
    limit: searchLimit,
    ...(query.trim() !== "" && { query }),
    ...(category !== "" && { category: category as Category }),
  });
  return { rows: entries, total };
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
    ["memories"],
    `${query.value}\n${category.value}`,
  );
  return (
    <Card
      title="Remembered"
      actions={<Button text="New entry" kind="primary" onRun={() => void (isNew.value = true)} />}
    >
      <p class="muted">
        Facts and preferences that assistants and you have saved. Local models get the relevant ones with each prompt,
        pinned ones with every prompt.
      </p>
      <form
        class="toolbar"
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
  const { key, value, category = "fact", scope, tags = [], pinned, updated_at, expires_at } = row;
  const isCut = value.length > shownCharacters;
  return (
    <article class="entry">
      <header>
        <h3>
          <Name text={key} />
        </h3>
        <div class="row-actions">
          <Button text="Edit" of={key} onRun={onEdit} />
          <DeleteButton entryKey={key} />
        </div>
      </header>
      <p class="wrap">{visibleText(isCut ? `${value.slice(0, shownCharacters)}…` : value)}</p>
      <p class="badges">
        <Badge>{category}</Badge>
        {scope === "project" && <Badge>project</Badge>}
        {pinned === true && <Badge tone="good">pinned</Badge>}
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
      text="Delete"
      of={entryKey}
      question={{
        title: "Delete this entry?",
        text: `${visibleName(entryKey)} is forgotten, also its previous value.`,
      }}
      done={`${entryKey} was deleted.`}
      onRun={async () => void (await client.callTool("forget", { key: entryKey, confirm: true }))}
    />
  );
}

/** The whole entry, which a list may have cut. */
function EditEntry({ entryKey, onClose }: { readonly entryKey: string; readonly onClose: () => void }) {
  // Not read again on changes: they would overwrite what is being typed.
  const found = useData(() => client.readResource("ollm://memory/{key}", { key: entryKey }), [], entryKey);
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

function draftOf(entry: Entry | undefined) {
  return {
    key: entry?.key ?? "",
    value: entry?.value ?? "",
    category: entry?.category ?? ("fact" as const),
    /** Empty: an entry with a lifetime keeps it. */
    lifetime: entry?.expires_at === undefined ? "0" : "",
    tags: (entry?.tags ?? []).join(", "),
    isPinned: entry?.pinned ?? false,
    isForced: false,
  };
}

type EntryDraft = ReturnType<typeof draftOf>;

function entryRows(entry: Entry | undefined): Rows<EntryDraft> {
  const until = entry?.expires_at;
  const unchanged =
    until === undefined
      ? []
      : [{ value: "", text: `Unchanged; starts again on saving (now until ${localTime(until)})` }];
  return [
    {
      key: {
        title: "Key",
        description:
          entry === undefined ? "Saving under a key that exists replaces its value." : "A key can't be changed.",
        isReadOnly: entry !== undefined,
      },
    },
    { value: { title: "Value", lines: 5 } },
    {
      category: { title: "Category", choices: categories },
      lifetime: { title: "Lifetime", choices: [...unchanged, ...lifetimes] },
    },
    { tags: { title: "Tags", description: "Separated by commas." } },
    { isPinned: { title: "Pinned: part of every prompt", type: "boolean" } },
  ];
}

const forcedRows: Rows<EntryDraft> = [
  { isForced: { title: "Save it even though it looks like a secret", type: "boolean" } },
];

function EntryForm({ entry, onClose }: { readonly entry?: Entry; readonly onClose: () => void }) {
  const save = async (draft: EntryDraft): Promise<undefined> => {
    const key = draft.key.trim();
    await client.callTool("remember", {
      key,
      value: draft.value,
      category: draft.category,
      tags: partsOf(draft.tags),
      pinned: draft.isPinned,
      ...(draft.lifetime !== "" && { ttl: Number(draft.lifetime) }),
      ...(entry !== undefined && { scope: entry.scope }),
      ...(draft.isForced && { force: true }),
    });
    notify({ kind: "done", text: `${key} was saved.` });
    onClose();
  };
  return (
    <Form rows={entryRows(entry)} initial={draftOf(entry)} onSave={save} onCancel={onClose}>
      {({ failure, ...form }) => (
        <>
          {failure instanceof Error && /secret/i.test(failure.message) && <Fields rows={forcedRows} {...form} />}
          {entry !== undefined && <EntryFacts entry={entry} />}
        </>
      )}
    </Form>
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
      {previous !== undefined && <TextBlock title="Previous value" text={previous.value} />}
    </>
  );
}
