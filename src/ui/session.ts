/** The session of a page: a one-time code in the address is exchanged for a token, which only this tab has. */

export type Session =
  | { readonly state: "opening" }
  | { readonly state: "open"; readonly token: string }
  /** `reason`: why there is none. */
  | { readonly state: "none"; readonly reason?: string };

/** `sessionStorage`. */
interface TabStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

interface SessionParts {
  /** `location.hash`. */
  readonly hash: string;
  /** Takes the code out of the address, so that it is in no bookmark. */
  readonly clearHash: () => void;
  readonly storage: Pick<TabStorage, "getItem" | "setItem">;
  readonly fetch: typeof fetch;
}

const tokenKey = "ollm-session";

/** The one-time code in a fragment; undefined in that of a page (`#/models`). */
export function codeIn(hash: string): string | undefined {
  return /^#([\w.~-]{8,200})$/.exec(hash)?.[1];
}

/** Exchanges the code in the address, if there is one; otherwise the token that this tab already has. */
export async function openSession(parts: SessionParts): Promise<Session> {
  const { hash, clearHash, storage } = parts;
  const code = codeIn(hash);
  const stored = storage.getItem(tokenKey) ?? undefined;
  const earlier: Session = stored === undefined ? { state: "none" } : { state: "open", token: stored };
  if (code === undefined) return earlier;
  clearHash();
  const exchanged = await exchange(code, parts.fetch);
  if ("reason" in exchanged) return stored === undefined ? { state: "none", reason: exchanged.reason } : earlier;
  storage.setItem(tokenKey, exchanged.token);
  return { state: "open", token: exchanged.token };
}

/** Forgets a token that the daemon refuses. */
export function closeSession(storage: Pick<TabStorage, "removeItem">): Session {
  storage.removeItem(tokenKey);
  return { state: "none", reason: "The session has ended, because the token was replaced." };
}

async function exchange(
  code: string,
  fetch: SessionParts["fetch"],
): Promise<{ readonly token: string } | { readonly reason: string }> {
  try {
    const response = await fetch("/dashboard/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ code }),
    });
    const { token, error } = (await response.json()) as {
      readonly token?: string;
      readonly error?: { readonly message?: string };
    };
    return token === undefined ? { reason: error?.message ?? "The daemon returned no session token." } : { token };
  } catch {
    return { reason: "The daemon did not answer." };
  }
}
