import { advice } from "../api/next-step.ts";
import { randomUUID } from "node:crypto";
import { estimateTokens } from "../routing/tokens.ts";
import type { ChatMessage } from "../api/chat.ts";
import { ConversationBusy, UnknownConversation, throwIfCancelled } from "../api/errors.ts";
import { type Timers, within } from "../util/timers.ts";

/** One call's access to a conversation. */
export interface Thread {
  readonly id: string;
  /** Questions and answers in turn, oldest first. */
  readonly history: readonly ChatMessage[];
  /** How many of the oldest messages were dropped because the conversation exceeded its limit. */
  readonly droppedMessages: number;
  /** System prompt of the turns so far. */
  readonly system?: string;
  /** The model of the last answer. */
  readonly model?: string;
  /** A turn ran under `local_only`, so later turns must not send the conversation elsewhere. */
  readonly isLocalOnly: boolean;
  /** Adds a turn. Returns the estimated tokens of the conversation. */
  keep(turn: {
    readonly question: string;
    readonly answer: string;
    readonly system?: string;
    readonly model: string;
    readonly isLocalOnly: boolean;
  }): number;
  /** Releases the conversation for the next call. */
  end(): void;
}

/** Limit of one conversation in tokens; beyond it the oldest turns are dropped. */
export const maxConversationTokens = 32_768;
/** A cancelled answer ends within this time, unless its engine is stuck. */
const cancelLimitMs = 5_000;
/** How much of an unknown id a message quotes. */
const shownCharacters = 60;

interface Conversation {
  readonly id: string;
  turns: readonly Parameters<Thread["keep"]>[0][];
  droppedTurns: number;
  tokens: number;
  usedAtMs: number;
  answering: Answering | undefined;
}

/** The answer that a conversation gets at present. */
type Answering = ReturnType<typeof answeringUntil>;

/** Far more than anyone continues within `conversations.keepHours`. */
const maxCount = 100;

/**
 * The conversations of all callers of a home, in memory only. `hours` is called for each use, because settings may
 * change. `now` in milliseconds.
 */
export function createConversations(hours: () => number, now: () => number, timers: Pick<Timers, "after">) {
  const conversations = new Map<string, Conversation>();

  function tidy(): void {
    const keepHours = hours();
    const idle = [...conversations.values()]
      .filter(({ answering }) => answering === undefined)
      .toSorted((a, b) => a.usedAtMs - b.usedAtMs);
    const tooMany = conversations.size - maxCount;
    for (const [index, { id, usedAtMs }] of idle.entries()) {
      if (index < tooMany || now() - usedAtMs > keepHours * 3_600_000) conversations.delete(id);
    }
  }

  function find(continueId: string): Conversation {
    if (continueId === "new") {
      return {
        id: randomUUID().slice(0, 8),
        turns: [],
        droppedTurns: 0,
        tokens: 0,
        usedAtMs: now(),
        answering: undefined,
      };
    }
    const found = conversations.get(continueId);
    if (found === undefined) {
      throw new UnknownConversation(
        `there is no conversation "${continueId.slice(0, shownCharacters)}": conversations end after a time without use, and when the daemon exits`,
        { next: { step: "startConversation" } },
      );
    }
    return found;
  }

  /** Waits until the cancelled answer of a conversation has ended. */
  async function untilEnded({ ended }: Answering, signal: AbortSignal): Promise<void> {
    await within(
      { ms: cancelLimitMs, signal, timers },
      () => ended,
      () => undefined,
    );
    throwIfCancelled(signal, "waiting for the conversation");
  }

  /**
   * `new`, or an id. `signal` is that of the answer: while an aborted one ends, the conversation is waited for. Throws
   * `UnknownConversation`, and `ConversationBusy` for one that is being answered. A plan only reads it.
   */
  async function begin(continueId: string, signal: AbortSignal, isPlan = false): Promise<Thread> {
    tidy();
    const conversation = find(continueId);
    const { answering } = conversation;
    if (answering === undefined) return threadOf(conversation, signal, isPlan);
    if (!answering.signal.aborted) throw busy(`the conversation ${continueId} is already being answered`);
    await untilEnded(answering, signal);
    if (find(continueId).answering === answering) {
      const seconds = cancelLimitMs / 1_000;
      throw busy(`the cancelled answer of the conversation ${continueId} has not ended within ${seconds} s`);
    }
    return begin(continueId, signal, isPlan);
  }

  function threadOf(conversation: Conversation, signal: AbortSignal, isPlan: boolean): Thread {
    const answering = answeringUntil(signal);
    if (!isPlan) conversation.answering = answering;
    const last = conversation.turns.at(-1);
    return {
      id: conversation.id,
      history: conversation.turns.flatMap(({ question, answer }): readonly ChatMessage[] => [
        { role: "user", content: question },
        { role: "assistant", content: answer },
      ]),
      droppedMessages: conversation.droppedTurns * 2,
      ...(last?.system === undefined ? {} : { system: last.system }),
      ...(last === undefined ? {} : { model: last.model }),
      isLocalOnly: conversation.turns.some(({ isLocalOnly }) => isLocalOnly),
      keep(turn) {
        const all = [...conversation.turns, turn];
        // Always keep the newest turn, however long it is.
        conversation.turns = [...newestTurns(all.slice(0, -1), tokensOf, maxConversationTokens - tokensOf(turn)), turn];
        conversation.droppedTurns += all.length - conversation.turns.length;
        conversation.tokens = conversation.turns.reduce((sum, each) => sum + tokensOf(each), 0);
        conversation.usedAtMs = now();
        // Only a conversation with an answer can be continued.
        conversations.set(conversation.id, conversation);
        tidy();
        return conversation.tokens;
      },
      end() {
        conversation.answering = undefined;
        answering.end();
      },
    };
  }

  return { begin };
}

function answeringUntil(signal: AbortSignal) {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  return { signal, ended, end };
}

const busy = (message: string) => new ConversationBusy(message, { next: advice("wait for that answer, or cancel it") });

/** The newest turns that fit. */
export function newestTurns<Turn>(
  turns: readonly Turn[],
  sizeOf: (turn: Turn) => number,
  maxTokens: number,
): readonly Turn[] {
  let tokens = 0;
  return turns.slice(turns.findLastIndex((turn) => (tokens += sizeOf(turn)) > maxTokens) + 1);
}

function tokensOf({ question, answer }: Conversation["turns"][number]): number {
  return estimateTokens(question) + estimateTokens(answer);
}
