import { InvalidRequest, StoreFailed, throwIfCancelled, projectOf, undefinedIf, UnknownMemory } from "../api/errors.ts";
import type {
  ForgetRequest,
  ExportPage,
  Memories,
  MemoryEntry,
  MemoryFormat,
  MemoryInjection,
  RecallRequest,
  Recalled,
  RememberRequest,
  Remembered,
} from "../api/facade-recall.ts";
import type { Emit } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import { advice } from "../api/next-step.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Embed } from "./vector-cache.ts";
import { checkValue, expiryOf, findSecret, idOf, normaliseKey, normaliseTags } from "./entry.ts";
import { composeInjection } from "./inject.ts";
import { checkImport, exportEntries, pageOf, parseExport } from "./markdown.ts";
import { type MemoryId, type MemorySearch, createMemorySearch } from "./search.ts";
import { type MemoryStore, openMemoryStore } from "./store.ts";
import { openedOnce } from "../storage/document.ts";
import { defined } from "../util/values.ts";
import { nearestNames } from "../util/nearest.ts";
import { type CallerContext, isShell } from "../api/types.ts";

/** A prompt is answered without memories where their store fails; made once, not for each prompt. */
const noneIfFailed = undefinedIf(StoreFailed);

/** Results of a search without a limit. */
const defaultLimit = 20;
/** Candidates for a prompt; fewer fit into a few hundred tokens. */
const relevantLimit = 50;

/** Opens the store on the first call; if that fails, the next call tries again. */
export class StoredMemories implements Memories {
  readonly #parts: ConstructorParameters<typeof StoredMemories>[0];
  readonly #search: MemorySearch;
  readonly #store: ReturnType<typeof openedOnce<MemoryStore>>;

  constructor(parts: {
    readonly now: () => number;
    readonly log: Log;
    readonly emit: Emit;
    readonly files?: DocumentFiles;
    readonly embed: Embed;
  }) {
    this.#parts = parts;
    this.#search = createMemorySearch(parts);
    this.#store = openedOnce(() => openMemoryStore({ ...parts, search: this.#search }));
  }

  async remember(caller: CallerContext, request: RememberRequest): Promise<Remembered> {
    const { now } = this.#parts;
    const key = normaliseKey(request.key);
    const value = checkValue(request.value);
    const tags = defined({ tags: request.tags && normaliseTags(request.tags) });
    const { ttlSeconds } = request;
    const asked = ttlSeconds === undefined || ttlSeconds === 0 ? undefined : expiryOf(ttlSeconds, now());
    if (request.isForced !== true) refuseSecret(key, value);
    const ownFolder = request.scope === "project" ? projectOf(caller).folder : caller.project?.folder;
    const store = await this.#store.get();
    throwIfCancelled(caller.signal, "remember");
    // Without a scope, an existing key keeps its scope.
    const isOfProject =
      request.scope === "project" || (request.scope === undefined && store.get(idOf(ownFolder, key)) !== undefined);
    const project = isOfProject ? ownFolder : undefined;
    const before = ttlSeconds === undefined ? store.get(idOf(project, key)) : undefined;
    const expiresAt = asked ?? (before && expiryAgain(before, now()));
    const change = await this.#write(store, {
      type: "remember",
      key,
      value,
      ...defined({ project, category: request.category, isPinned: request.isPinned, expiresAt }),
      ...tags,
      source: isShell(caller.client) ? "user" : "llm",
      at: this.#isoNow(),
    });
    const [entry] = change.put;
    if (entry === undefined) throw new Error(`the entry ${key} was not stored`);
    return { entry, isNew: change.isListChanged, similarKeys: await this.#similarKeys(caller, store, entry) };
  }

  secretIn({ key, value }: Pick<RememberRequest, "key" | "value">): string | undefined {
    return findSecret(`${key}=${value}`);
  }

  async recall(caller: CallerContext, request: RecallRequest): Promise<Recalled> {
    const { limit } = request;
    if (limit !== undefined && (!Number.isInteger(limit) || limit < 1)) {
      throw new InvalidRequest(`limit must be a whole number of at least 1, not ${limit}`, {
        next: { step: "correctArguments" },
      });
    }
    const store = await this.#store.get();
    const found = await this.#find(caller, store, request);
    store.touch(found.method === "list" ? [] : found.entries);
    return found;
  }

  async matching(caller: CallerContext, request: ForgetRequest): Promise<readonly string[]> {
    return chosen(caller, await this.#store.get(), request).map(({ key }) => key);
  }

  async forget(caller: CallerContext, request: ForgetRequest): Promise<readonly string[]> {
    const store = await this.#store.get();
    const entries = chosen(caller, store, request);
    throwIfCancelled(caller.signal, "forget");
    if (entries.length === 0) return [];
    const keys = entries.map(({ key, project }) => ({ key, ...defined({ project }) }));
    const { removed } = await this.#write(store, { type: "forget", places: keys });
    const gone = new Set(removed);
    return entries.filter(({ key, project }) => gone.has(idOf(project, key))).map(({ key }) => key);
  }

  async export(caller: CallerContext, format: MemoryFormat, page: ExportPage = {}) {
    const store = await this.#store.get();
    // A backup made by the user contains the entries of all projects.
    const entries = isShell(caller.client) ? store.all() : visible(caller, store, {});
    const { from, to, next } = pageOf(entries, page);
    const text = exportEntries(entries.slice(from, to), format, this.#parts.now());
    return { text, ...defined({ next }) };
  }

  import: Memories["import"] = async (caller, text, format, options = {}) => {
    const given = parseExport(text, format);
    const { entries, refused } = await checkImport(given, {
      nowMs: this.#parts.now(),
      isForced: options.isForced === true,
      takesProject: (folder) => isShell(caller.client) || folder === caller.project?.folder,
    });
    if (entries.length === 0) return { imported: 0, refused };
    const store = await this.#store.get();
    throwIfCancelled(caller.signal, "import");
    await this.#write(store, { type: "import", at: this.#isoNow(), entries: [...entries] });
    return { imported: entries.length, refused };
  };

  /**
   * The entries to add to this prompt, at most `maxTokens`. Undefined when there are none, or when the store can't be
   * read: the prompt is answered without them. Counts as an access, unless the prompt is only planned.
   */
  async inject(
    caller: CallerContext,
    prompt: string,
    maxTokens: number,
    countTokens: (text: string) => Promise<number>,
    isUsed = true,
  ): Promise<MemoryInjection | undefined> {
    if (maxTokens <= 0) return undefined;
    const store = await this.#store.get().catch(noneIfFailed);
    if (store === undefined) return undefined;
    if (!store.some((entry) => sees(caller, entry))) return undefined;
    const folder = caller.project?.folder;
    const isVisible = (entry: MemoryEntry) => sees(caller, entry) && !isHidden(entry, folder, store);
    const accepts = (id: MemoryId) => {
      const entry = store.get(id);
      return entry !== undefined && isVisible(entry);
    };
    const asked = { accepts, limit: relevantLimit, signal: caller.signal };
    const ids = await this.#search.relevant(prompt, asked, isUsed);
    const candidates = new Map(
      store.standing().flatMap((entry) => (isVisible(entry) ? [[idOf(entry.project, entry.key), entry] as const] : [])),
    );
    const standing = [...candidates.values()];
    for (const id of ids) {
      const entry = candidates.get(id) ?? store.get(id);
      if (entry !== undefined) candidates.set(id, entry);
    }
    const relevant = ids.flatMap((id) => candidates.get(id) ?? []);
    const injection = await composeInjection({
      entries: standing,
      relevant,
      nowMs: this.#parts.now(),
      maxTokens,
      countTokens,
    });
    if (injection === undefined) return undefined;
    const used = new Set(injection.keys);
    if (isUsed) store.touch([...candidates.values()].filter(({ key }) => used.has(key)));
    return injection;
  }

  /** Files that were set aside, and why. */
  problems(): readonly string[] {
    return this.#store.problems();
  }

  async close(): Promise<void> {
    // The store's last events change the index.
    await this.#store.close();
    await this.#search.close();
  }

  async #write(store: MemoryStore, event: Parameters<MemoryStore["write"]>[0]): ReturnType<MemoryStore["write"]> {
    const change = await store.write(event);
    if (change.put.length + change.removed.length > 0) {
      this.#parts.emit({ kind: "memories changed", isListChanged: change.isListChanged });
    }
    return change;
  }

  #isoNow = (): string => new Date(this.#parts.now()).toISOString();

  /** Never throws: the entry is stored already. */
  async #similarKeys(caller: CallerContext, store: MemoryStore, entry: MemoryEntry): Promise<readonly string[]> {
    try {
      const ids = await this.#search.similar(idOf(entry.project, entry.key), entry, acceptsOf(caller, store, {}));
      return [...new Set(ids.flatMap((id) => store.get(id)?.key ?? []))];
    } catch (error) {
      this.#parts.log.warn(`recall: similar keys can't be searched: ${String(error)}`);
      return [];
    }
  }

  async #find(caller: CallerContext, store: MemoryStore, request: RecallRequest): Promise<Recalled> {
    const { key, query, limit } = request;
    if (key !== undefined) return { entries: [findByKey(caller, key, request, store)], total: 1, method: "key" };
    if (query === undefined || query.trim() === "") {
      const entries = inOrder(visible(caller, store, request));
      return { entries: entries.slice(0, limit), total: entries.length, method: "list" };
    }
    if (request.scope === "project") projectOf(caller);
    const options = {
      accepts: acceptsOf(caller, store, request),
      limit: limit ?? defaultLimit,
      signal: caller.signal,
    };
    const { ids, total, method } = await this.#search.search(query, options);
    return { entries: ids.flatMap((id) => store.get(id) ?? []), total, method };
  }
}

function acceptsOf(caller: CallerContext, store: MemoryStore, filter: RecallRequest): (id: MemoryId) => boolean {
  return (id) => {
    const entry = store.get(id);
    return entry !== undefined && sees(caller, entry) && passes(entry, filter);
  };
}

function visible(caller: CallerContext, store: MemoryStore, filter: RecallRequest | ForgetRequest): MemoryEntry[] {
  if (filter.scope === "project") projectOf(caller);
  return store.all().filter((entry) => sees(caller, entry) && passes(entry, filter));
}

/** The entries that a request to forget selects. */
function chosen(caller: CallerContext, store: MemoryStore, request: ForgetRequest): readonly MemoryEntry[] {
  if (request.key !== undefined) return [findByKey(caller, request.key, request, store)];
  if (request.isAll !== true && request.category === undefined && request.scope === undefined) {
    throw new InvalidRequest("no key, category or scope was given", {
      next: advice("give one of them, or state that all entries are to be deleted"),
    });
  }
  return inOrder(visible(caller, store, request));
}

/** Throws `InvalidRequest` for a value that looks like a key or password, without repeating it. */
function refuseSecret(key: string, value: string): void {
  const secret = findSecret(`${key}=${value}`);
  if (secret === undefined) return;
  throw new InvalidRequest(`the value looks like ${secret}; secrets are not saved, since they would go into prompts`, {
    next: [advice("save where the secret is kept"), { step: "setArgument", argument: "force", to: true }],
  });
}

/** At most this many keys are compared for "did you mean"; more would be noticeably slow. */
const maxCompared = 2_000;

function sees(caller: CallerContext, entry: MemoryEntry): boolean {
  return entry.project === undefined || entry.project === caller.project?.folder;
}

function passes(entry: MemoryEntry, { category, scope }: RecallRequest | ForgetRequest): boolean {
  return (category === undefined || entry.category === category) && (scope === undefined || entry.scope === scope);
}

/**
 * The entry under a key; an entry of the caller's project hides a global one, unless the filter has a scope. Throws
 * `InvalidRequest` for an invalid key, `UnknownMemory` when there is no entry.
 */
function findByKey(
  caller: CallerContext,
  given: string,
  filter: RecallRequest | ForgetRequest,
  store: Pick<MemoryStore, "get" | "all">,
): MemoryEntry {
  const key = normaliseKey(given);
  if (filter.scope === "project") projectOf(caller);
  const folder = caller.project?.folder;
  const candidates = folder === undefined ? [idOf(undefined, key)] : [idOf(folder, key), idOf(undefined, key)];
  for (const id of candidates) {
    const entry = store.get(id);
    if (entry !== undefined && passes(entry, filter)) return entry;
  }
  const known = store.all().filter((entry) => sees(caller, entry) && passes(entry, filter));
  const near = nearestNames(key, [...new Set(known.slice(-maxCompared).map((entry) => entry.key))], 3);
  const of = [filter.category, filter.scope].filter((each) => each !== undefined).join(", ");
  throw new UnknownMemory(`nothing is remembered under "${key}"${of === "" ? "" : ` (${of})`}`, {
    next: near.length > 0 ? { step: "didYouMean", names: near.map((each) => `"${each}"`) } : { step: "listMemories" },
  });
}

/** Pinned entries first, then the most recently changed. */
function inOrder(entries: readonly MemoryEntry[]): readonly MemoryEntry[] {
  return entries.toSorted(
    (a, b) =>
      Number(b.isPinned) - Number(a.isPinned) ||
      (a.updatedAt < b.updatedAt ? 1 : 0) - (b.updatedAt < a.updatedAt ? 1 : 0) ||
      (a.key < b.key ? -1 : 1),
  );
}

/** Whether it is a global entry whose key an entry of the project has, too. */
function isHidden({ scope, key }: MemoryEntry, folder: string | undefined, store: Pick<MemoryStore, "get">): boolean {
  return scope === "global" && folder !== undefined && store.get(idOf(folder, key)) !== undefined;
}

/** The new expiry of an entry that is saved again: after the same time as before. Undefined for one without expiry. */
function expiryAgain({ updatedAt, expiresAt }: MemoryEntry, nowMs: number): string | undefined {
  if (expiresAt === undefined) return undefined;
  return new Date(nowMs + Math.max(0, Date.parse(expiresAt) - Date.parse(updatedAt))).toISOString();
}
