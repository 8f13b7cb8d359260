/**
 * The session of a page: `docs/decisions/0045-dashboard-session.md`. Who listens at the page's address proves first that
 * it knows the session's secret, as the page does then; the secret itself is never sent to a listener.
 */

export type Session =
  | { readonly state: "opening" }
  | { readonly state: "open" }
  /** `reason`: why there is none. */
  | { readonly state: "none"; readonly reason?: string };

/**
 * The bearer for the next request, or why there is none. `foreign`: who listens has not proved to be the daemon, and was
 * told nothing; `ended`: it doesn't know the session.
 */
export type Entry =
  | { readonly kind: "bearer"; readonly bearer: string }
  | { readonly kind: "ended" | "foreign" | "offline" };

/** `SubtleCrypto`, whose name is the browser's only. */
type Subtle = typeof crypto.subtle;
type SecretKey = Awaited<ReturnType<Subtle["importKey"]>>;

interface SessionParts {
  /** `location.host`: the address that the daemon's proof must name. */
  readonly host: string;
  readonly storage: {
    getItem(key: string): string | null;
    setItem(key: string, value: string): void;
    removeItem(key: string): void;
  };
  readonly fetch: typeof fetch;
  /** `crypto.subtle`: browsers have it at 127.0.0.1 and over TLS only. */
  readonly subtle: Subtle | undefined;
}

/** What the next handshake is made with: a link's code, a session's secret, or what the tab kept over a reload. */
interface Key {
  readonly by: "link" | "session" | "bearer";
  readonly id: string;
  readonly key: SecretKey;
}

const keptName = "ollm-session";
/** A program that accepts the connection and stays silent. */
const answerMs = 10_000;
export const foreignText =
  "The program that answers at this address has not proved to be your ollm daemon. Nothing was sent to it.";

/** The name and the code of a link in a fragment; undefined in that of a page (`#/models`). */
export function linkIn(hash: string): { readonly id: string; readonly code: string } | undefined {
  const [, id, code] = /^#([\da-f]{16})\.([\w-]{43})$/.exec(hash) ?? [];
  return id === undefined || code === undefined ? undefined : { id, code };
}

export class PageSession {
  readonly #parts: SessionParts;
  #key: Key | undefined;
  #bearer: string | undefined;
  #proving: Promise<Entry> | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  /** Begins a session by the link in the address, if there is one; otherwise takes up the one of this tab. */
  async open(hash: string): Promise<Session> {
    const { storage, subtle } = this.#parts;
    if (subtle === undefined) {
      return { state: "none", reason: "Browsers sign in at 127.0.0.1 only. From another machine, forward the port." };
    }
    const kept = storage.getItem(keptName) ?? "";
    const link = linkIn(hash);
    if (link !== undefined) {
      this.#take({ by: "link", id: link.id, key: await keyOf(subtle, link.code) });
      const { kind } = await this.entry();
      if (kind === "bearer") return { state: "open" };
      this.#take(undefined);
      const reasons = {
        ended: "This link was used, or is older than 5 minutes.",
        foreign: foreignText,
        offline: "The daemon did not answer.",
      };
      if (kept === "") return { state: "none", reason: reasons[kind] };
    }
    if (kept === "") return { state: "none" };
    const [id = ""] = kept.split(".");
    this.#take({ by: "bearer", id, key: await keyOf(subtle, kept) });
    return { state: "open" };
  }

  #take(key: Key | undefined): void {
    this.#key = key;
    this.#bearer = undefined;
    this.#proving = undefined;
  }

  /** For each request. After `doubt` both sides prove themselves first. */
  async entry(): Promise<Entry> {
    if (this.#bearer !== undefined) return { kind: "bearer", bearer: this.#bearer };
    if (this.#proving === undefined) {
      const proving = this.#prove().finally(() => {
        if (this.#proving === proving) this.#proving = undefined;
      });
      this.#proving = proving;
    }
    return this.#proving;
  }

  /** The connection broke, or the bearer was refused: another program may listen now. */
  doubt(): void {
    this.#bearer = undefined;
  }

  /** Forgets the session. */
  close(): void {
    this.#take(undefined);
    this.#parts.storage.removeItem(keptName);
  }

  async #prove(): Promise<Entry> {
    const { host, storage, subtle } = this.#parts;
    const known = this.#key;
    if (known === undefined || subtle === undefined) return { kind: "ended" };
    const { by, id, key } = known;
    const nonce = hexOf(crypto.getRandomValues(new Uint8Array(16)));
    const knock = { by, id, nonce };
    const introduced = await this.#send(knock);
    if (typeof introduced === "string") return { kind: introduced };
    const theirs = introduced["nonce"] ?? "";
    const proofs = await proofsOf(subtle, key, `${nonce} ${theirs} ${host}`);
    if (!/^[\da-f]{32}$/.test(theirs) || introduced["proof"] !== proofs.daemon) return { kind: "foreign" };
    const begun = await this.#send({ ...knock, proof: proofs.page });
    if (typeof begun === "string") return { kind: begun };
    const { id: session = "", secret = "", bearer = "" } = begun;
    // Another program may have taken the port between the two.
    const seal = await proofsOf(subtle, key, `${nonce} ${theirs} ${host} ${session} ${secret} ${bearer}`);
    if (begun["seal"] !== seal.daemon) return { kind: "foreign" };
    const next: Key = { by: "session", id: session, key: await keyOf(subtle, secret) };
    // Closed, or opened by another link meanwhile.
    if (this.#key !== known) return { kind: "offline" };
    this.#key = next;
    this.#bearer = bearer;
    // For a reload: worthless once this listener has closed, so a program that has its port then gains nothing.
    storage.setItem(keptName, bearer);
    return { kind: "bearer", bearer };
  }

  async #send(body: object): Promise<"ended" | "foreign" | "offline" | Readonly<Record<string, string>>> {
    try {
      const response = await this.#parts.fetch("/dashboard/session", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        redirect: "error",
        signal: AbortSignal.timeout(answerMs),
      });
      if (response.status === 403) return "ended";
      if (!response.ok) return response.status < 500 ? "foreign" : "offline";
      const data: unknown = await response.json().catch(() => undefined);
      if (typeof data !== "object" || data === null) return "foreign";
      return Object.fromEntries(Object.entries(data).filter(([, value]) => typeof value === "string"));
    } catch {
      return "offline";
    }
  }
}

/** It can be used, and not read. */
function keyOf(subtle: Subtle, secret: string): Promise<SecretKey> {
  const bytes = new TextEncoder().encode(secret);
  return subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

/** The halves of an HMAC, as in the handshake on the daemon's socket (`src/ipc/protocol.ts`). */
async function proofsOf(subtle: Subtle, key: SecretKey, text: string) {
  const hex = hexOf(new Uint8Array(await subtle.sign("HMAC", key, new TextEncoder().encode(text))));
  return { daemon: hex.slice(0, 32), page: hex.slice(32) };
}

function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
