import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Chat, ChatMessage } from "../api/chat.ts";
import { getOrInsert } from "../util/values.ts";

/** Lines of a system prompt that differ with each request and say nothing to a local model. */
const perRequest = /^x-anthropic-billing-header:[^\n]*(?:\n|$)/gim;
/** Short lines that state the day or the time. */
const dated =
  /^[^\n]{0,120}\b(?:date|time|today|now)\b[^\n]{0,80}(?:\b\d{4}-\d\d-\d\d|\b\d{1,2}[/.]\d{1,2}[/.]\d{4}|\b\d{1,2}:\d\d\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b[^\n]{0,20}\b\d{4})[^\n]{0,120}(?:\n|$)/gim;

/**
 * The messages as a local model reads them: its cache holds a prefix, and one changed line at the top of an agent's 20,000
 * tokens costs minutes. System prompts lose what differs with each request; with `movesDates` their lines with the day or
 * the time stand at the end. Nothing else changes.
 */
export function steadyMessages({ messages, movesDates = false }: Chat): readonly ChatMessage[] {
  return messages.flatMap((message) => {
    if (message.role !== "system") return [message];
    let content = message.content.replaceAll(perRequest, "");
    const lines = movesDates ? (content.match(dated) ?? []).map((line) => line.trimEnd()) : [];
    if (lines.length > 0) content = [content.replaceAll(dated, "").trimEnd(), ...lines].join("\n");
    if (content === message.content) return [message];
    return content.trim() === "" ? [] : [{ ...message, content }];
  });
}

/** Where a conversation was answered: that engine has its prefix. */
interface ChatHome {
  readonly model: string;
  readonly engine: string;
}

/** More conversations than these are hardly continued at the same time. */
const maxChats = 256;

/** Which model answered each conversation that programs send, by its beginning; in memory only. */
export function createChatHomes() {
  /** By digest; the least recently answered is dropped first. */
  const homes = new LRUCache<string, ChatHome>({ max: maxChats });
  /** Answered in this turn of the event loop: an agent's beginning is long, and its digest must not delay the answer. */
  const fresh: (readonly [Chat, ChatHome])[] = [];
  const keep = (): void => {
    for (const [chat, home] of fresh.splice(0)) homes.set(beginningOf(chat), home);
  };
  return {
    of(chat: Chat): ChatHome | undefined {
      keep();
      return homes.peek(beginningOf(chat));
    },
    answered(chat: Chat, { model, engine }: ChatHome): void {
      if (fresh.length === 0) setImmediate(keep);
      fresh.push([chat, { model, engine }]);
    },
  };
}

/** Asked for several times in the course of a request. */
const beginnings = new WeakMap<Chat, string>();

/** The digest of everything up to the first message of the user, which no later turn changes. */
function beginningOf(chat: Chat): string {
  return getOrInsert(beginnings, chat, () => {
    const messages = steadyMessages({ ...chat, movesDates: true });
    const read = messages.slice(0, messages.findIndex(({ role }) => role === "user") + 1);
    return createHash("sha256").update(JSON.stringify(read)).digest("hex");
  });
}
