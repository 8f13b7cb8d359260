import { expect, test } from "vitest";
import { PageSession, linkIn } from "../../src/ui/session.ts";

const code = "dGhpcy1pcy1hLW9uZS10aW1lLWNvZGUtb2YtMzItYnl";
const hash = `#0123456789abcdef.${code}`;

/** What a tab keeps. */
class TabStorage {
  readonly items = new Map<string, string>();
  getItem(key: string): string | null {
    return this.items.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    this.items.set(key, value);
  }
  removeItem(key: string): void {
    this.items.delete(key);
  }
}

/** A page at an address where `answer` listens. The real daemon's side is in `test/server/http/dashboard.test.ts`. */
function tab(answer: (body: Record<string, string>) => Response | Error, storage = new TabStorage()) {
  const sent: Record<string, string>[] = [];
  const session = new PageSession({
    host: "127.0.0.1:7412",
    storage,
    subtle: crypto.subtle,
    fetch: async (_url, init) => {
      const body = JSON.parse(init?.body as string) as Record<string, string>;
      sent.push(body);
      const answered = answer(body);
      if (answered instanceof Error) throw answered;
      return answered;
    },
  });
  return { session, sent, storage };
}

const refusal = () => Response.json({ error: { message: "<b>a text of who listens</b>" } }, { status: 403 });
const nonce = "0".repeat(32);

test.each([
  ["answers without a proof", () => Response.json({ nonce }), "foreign"],
  ["answers with a wrong proof", () => Response.json({ nonce, proof: "1".repeat(32) }), "foreign"],
  ["throws the nonce back", (body: Record<string, string>) => Response.json(body), "foreign"],
  ["gives a session at once", () => Response.json({ id: "x", secret: "y", bearer: "z", kind: "bearer" }), "foreign"],
  ["is another program", () => new Response("<h1>Welcome</h1>"), "foreign"],
  ["has no such route", () => new Response("", { status: 404 }), "foreign"],
  ["does not know the session", refusal, "ended"],
  ["is starting", () => new Response("", { status: 503 }), "offline"],
  ["is absent", () => new TypeError("connection refused"), "offline"],
])("who listens %s: it gets a name and a nonce, and is %s", async (_what, answer, kind) => {
  const storage = new TabStorage();
  storage.setItem("ollm-session", "the-id.the-bearer");
  const { session, sent } = tab(answer, storage);
  expect(await session.open("#/models")).toEqual({ state: "open" });
  expect(await session.entry()).toEqual({ kind });
  expect(sent.map((body) => Object.keys(body))).toEqual([["by", "id", "nonce"]]);
  expect(sent[0]).toMatchObject({ by: "bearer", id: "the-id" });
  expect(JSON.stringify(sent)).not.toContain("the-bearer");
});

test("a link that was used says so in the page's own words, and sends no code; a tab that has a session keeps it", async () => {
  const { session, sent, storage } = tab(refusal);
  expect(await session.open(hash)).toEqual({
    state: "none",
    reason: "This link was used, or is older than 5 minutes.",
  });
  expect(JSON.stringify(sent)).not.toContain(code);
  storage.setItem("ollm-session", "id.bearer");
  expect(await session.open(hash)).toEqual({ state: "open" });
});

test("without a link there is no session, and one that has ended is forgotten", async () => {
  const { session, sent, storage } = tab(refusal);
  expect(await session.open("")).toEqual({ state: "none" });
  expect(await session.entry()).toEqual({ kind: "ended" });
  storage.setItem("ollm-session", "id.bearer");
  session.close();
  expect(await session.open("")).toEqual({ state: "none" });
  expect(sent).toEqual([]);
});

test("an address where a browser has no WebCrypto says where to open the dashboard", async () => {
  const parts = { host: "192.0.2.1:7411", storage: new TabStorage(), subtle: undefined, fetch };
  expect(await new PageSession(parts).open(hash)).toMatchObject({
    state: "none",
    reason: expect.stringContaining("127.0.0.1") as string,
  });
});

test.each([
  [hash, { id: "0123456789abcdef", code }],
  [`#${code}`, undefined],
  ["#/models", undefined],
  ["#page", undefined],
  ["", undefined],
  ["#<script>alert(1)</script>", undefined],
])("the link in %s is %j", (fragment, found) => {
  expect(linkIn(fragment)).toEqual(found);
});
