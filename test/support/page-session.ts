import { setTimeout as pause } from "node:timers/promises";
import { type Entry, PageSession } from "../../src/ui/session.ts";

/** A tab of a browser at `origin`: the page's own handshake, over `fetch`. */
export interface Tab {
  readonly session: PageSession;
  /** `sessionStorage`. */
  readonly stored: Map<string, string>;
  /** Bodies sent to `/dashboard/session`, and the answers. */
  readonly exchanged: string[];
}

export function openTab(origin: string, stored = new Map<string, string>()): Tab {
  const exchanged: string[] = [];
  const session = new PageSession({
    host: new URL(origin).host,
    subtle: crypto.subtle,
    storage: {
      getItem: (name) => stored.get(name) ?? null,
      setItem: (name, value) => void stored.set(name, value),
      removeItem: (name) => void stored.delete(name),
    },
    fetch: async (path, init) => {
      const response = await fetch(addressOf(path, origin), init);
      exchanged.push(init?.body as string, await response.clone().text());
      return response;
    },
  });
  return { session, stored, exchanged };
}

/** What a page names is a path; the types of Node and of browsers differ. */
function addressOf(path: unknown, origin: string): URL {
  return new URL(path as string, origin);
}

/** The bearer of a new session, by a link of `ollm dashboard`. Rejects without one. */
export async function signIn(link: string | URL): Promise<Tab & { readonly bearer: string }> {
  const { origin, hash } = new URL(link);
  const tab = openTab(origin);
  const opened = await tab.session.open(hash);
  const entry = await tab.session.entry();
  if (entry.kind !== "bearer") throw new Error(`no session: ${JSON.stringify(opened)}`);
  return { ...tab, bearer: entry.bearer };
}

/** What the next request needs, once a program answers: a connection to the last one may have to break first. */
export async function entryOf({ session }: Pick<Tab, "session">): Promise<Entry> {
  for (let tries = 0; tries < 500; tries++) {
    session.doubt();
    const entry = await session.entry();
    if (entry.kind !== "offline") return entry;
    await pause(20);
  }
  throw new Error("no program answers");
}
