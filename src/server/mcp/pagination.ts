import { ProtocolError, ProtocolErrorCode } from "@modelcontextprotocol/server";

/** Entries per page. */
const pageSize = 100;

/**
 * The page of `list` at `cursor`, with the cursor of the next one; the first page without one. A cursor encodes its list's name and the start of the page.
 * It is untrusted: anything that `pageOf` would not have written for a list of this length is rejected with -32602.
 */
export function pageOf<Entry>(name: string, list: readonly Entry[], cursor: string | undefined) {
  const start = cursor === undefined ? 0 : startOf(name, cursor);
  if (start === undefined || (start > 0 && start >= list.length)) {
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      `cursor is not a cursor of ${name}; start again without one`,
    );
  }
  const end = start + pageSize;
  return {
    entries: list.slice(start, end),
    ...(end < list.length && { nextCursor: cursorAt(name, end) }),
  };
}

function cursorAt(name: string, start: number): string {
  return Buffer.from(`${name} ${start}`).toString("base64url");
}

function startOf(name: string, cursor: string): number | undefined {
  const text = Buffer.from(cursor, "base64url").toString("utf8");
  const start = Number(text.slice(name.length + 1));
  const isOurs = Number.isSafeInteger(start) && start > 0 && start % pageSize === 0 && cursorAt(name, start) === cursor;
  return isOurs ? start : undefined;
}
