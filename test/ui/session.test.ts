import { expect, test } from "vitest";
import { closeSession, codeIn, openSession } from "../../src/ui/session.ts";

const code = "dGhpcy1pcy1hLW9uZS10aW1lLWNvZGUtb2YtMzItYnl0ZXM";

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

function tab(hash: string, answer: () => Response, storage = new TabStorage()) {
  const sent: unknown[] = [];
  let isCleared = false;
  const opened = openSession({
    hash,
    clearHash: () => (isCleared = true),
    storage,
    fetch: async (url, init) => {
      sent.push([url, JSON.parse(init?.body as string)]);
      return answer();
    },
  });
  return { opened, sent, storage, isCleared: () => isCleared };
}

const token = () => Response.json({ token: "t" });
const refusal = () => Response.json({ error: { message: "this link was used" } }, { status: 403 });

test("a code in the address becomes a token of this tab, and leaves the address", async () => {
  const page = tab(`#${code}`, token);
  expect(await page.opened).toEqual({ state: "open", token: "t" });
  expect(page.sent).toEqual([["/dashboard/session", { code }]]);
  expect(page.isCleared()).toBe(true);
  // A reload has no code any more, and asks for nothing.
  const again = tab("#/models", refusal, page.storage);
  expect(await again.opened).toEqual({ state: "open", token: "t" });
  expect(again.sent).toEqual([]);
  expect(again.isCleared()).toBe(false);
});

test("a link that was used says so; a tab that has a session keeps it", async () => {
  const page = tab(`#${code}`, refusal);
  expect(await page.opened).toEqual({ state: "none", reason: "this link was used" });
  expect(page.isCleared()).toBe(true);
  const storage = new TabStorage();
  await tab(`#${code}`, token, storage).opened;
  expect(await tab(`#${code}`, refusal, storage).opened).toEqual({ state: "open", token: "t" });
});

test("without a code there is no session, and a refused token is forgotten", async () => {
  expect(await tab("", token).opened).toEqual({ state: "none" });
  const storage = new TabStorage();
  await tab(`#${code}`, token, storage).opened;
  expect(closeSession(storage)).toMatchObject({ state: "none" });
  expect(await tab("", token, storage).opened).toEqual({ state: "none" });
});

test.each([
  [`#${code}`, code],
  ["#/models", undefined],
  ["#page", undefined],
  ["", undefined],
  ["#<script>alert(1)</script>", undefined],
])("the code in %s is %s", (hash, found) => {
  expect(codeIn(hash)).toBe(found);
});
