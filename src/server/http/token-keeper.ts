import { statSync } from "node:fs";
import { readHttpToken } from "../../ipc/http-token.ts";
import { httpTokenFile } from "../../ipc/run-folder.ts";
import { digestOf, type AccessPolicy } from "./policy.ts";

export interface TokenKeeper {
  /** The digest of the file's current token. A stat per request costs microseconds, and a watch may miss a change. */
  current(): AccessPolicy["token"];
  close(): void;
}

/** How soon connections with an old token are closed without a request. */
const pollMs = 1_000;

/** Follows the token file of `home`. Calls `onChange` when its token changes or disappears. */
export function createTokenKeeper(home: string, onChange: () => void): TokenKeeper {
  const file = httpTokenFile(home);
  let seen: string | undefined;
  let token: AccessPolicy["token"] = "unreadable";

  function current(): AccessPolicy["token"] {
    const stamp = stampOf(file);
    if (stamp === seen) return token;
    const isFirst = seen === undefined;
    const before = token;
    seen = stamp;
    const read = readHttpToken(home);
    token = read === undefined ? "unreadable" : digestOf(read);
    if (!isFirst && !isSame(before, token)) onChange();
    return token;
  }

  current();
  const timer = setInterval(current, pollMs);
  timer.unref();
  return { current, close: () => clearInterval(timer) };
}

function isSame(one: AccessPolicy["token"], other: AccessPolicy["token"]): boolean {
  return one === other || (typeof one !== "string" && typeof other !== "string" && one.equals(other));
}

/** Changes with the file's content: a replacement has another inode, and an edit in place another time. */
function stampOf(file: string): string {
  const status = statSync(file, { bigint: true, throwIfNoEntry: false });
  return status === undefined ? "missing" : [status.ino, status.size, status.mtimeNs, status.ctimeNs].join(" ");
}
