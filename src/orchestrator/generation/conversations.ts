import { advice } from "../next-step.ts";
import { randomUUID } from "node:crypto";
import { estimateTokens } from "../catalog/tokens.ts";
import type { ChatMessage } from "../engines/generation.ts";
import { InvalidRequest } from "../errors.ts";

/** One call's hold on a conversation. */
export interface Thread {
  readonly id: string;
  /** Oldest first, questions and answers in turn. */
  readonly history: readonly ChatMessage[];
  /** Messages that `history` lacks: the oldest, which a conversation doesn't keep beyond its limit. */
  readonly droppedMessages: number;
  /** System prompt of the turns so far. */
  readonly system?: string;
  /** The model that answered last. */
  readonly model?: string;
  /** A turn was asked under `local_only`: what was said must not leave with a later one. */
  readonly isLocalOnly: boolean;
  /** Keeps a turn; the conversation's tokens from now on, estimated. */
  keep(turn: Turn): number;
  /** Lets the next call in. */
  end(): void;
}

export interface Turn {
  readonly question: string;
  readonly answer: string;
  readonly system?: string;
  readonly model: string;
  readonly isLocalOnly: boolean;
}

/** The conversations of all callers of a home, in memory: they end with the daemon. */
export interface Conversations {
  /** `new`, or an id. Throws `InvalidRequest` for one that isn't there, or answers already. */
  begin(continueId: string): Thread;
}

/** Most tokens of one conversation; the oldest turns go first. */
export const maxConversationTokens = 32_768;
/** Of an id that isn't ours. */
const shownCharacters = 60;

interface Conversation {
  readonly id: string;
  turns: readonly Turn[];
  droppedTurns: number;
  tokens: number;
  usedAtMs: number;
  isAnswering: boolean;
}

/** Limits are asked anew each time. `now` in milliseconds. */
export function createConversations(
  limits: () => { readonly keepHours: number; readonly maxCount: number },
  now: () => number,
): Conversations {
  const kept = new Map<string, Conversation>();

  function tidy(): void {
    const { keepHours, maxCount } = limits();
    const calm = [...kept.values()]
      .filter(({ isAnswering }) => !isAnswering)
      .toSorted((a, b) => a.usedAtMs - b.usedAtMs);
    const tooMany = kept.size - maxCount;
    for (const [index, { id, usedAtMs }] of calm.entries()) {
      if (index < tooMany || now() - usedAtMs > keepHours * 3_600_000) kept.delete(id);
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
        isAnswering: false,
      };
    }
    const found = kept.get(continueId);
    if (found === undefined) {
      throw new InvalidRequest(
        `there is no conversation "${continueId.slice(0, shownCharacters)}": conversations end when they are unused for long, or when the daemon restarts`,
        {
          next: { step: "startConversation" },
        },
      );
    }
    if (found.isAnswering) {
      throw new InvalidRequest(`the conversation ${continueId} is being answered already`, {
        next: [advice("wait for that answer"), { step: "startConversation" }],
      });
    }
    return found;
  }

  return {
    begin(continueId) {
      tidy();
      const conversation = find(continueId);
      conversation.isAnswering = true;
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
          conversation.turns = newestTurns(all);
          conversation.droppedTurns += all.length - conversation.turns.length;
          conversation.tokens = conversation.turns.reduce((sum, each) => sum + tokensOf(each), 0);
          conversation.usedAtMs = now();
          // Only an answered conversation can be gone on with.
          kept.set(conversation.id, conversation);
          tidy();
          return conversation.tokens;
        },
        end() {
          conversation.isAnswering = false;
        },
      };
    },
  };
}

function newestTurns(turns: readonly Turn[]): readonly Turn[] {
  let tokens = 0;
  const from = turns.findLastIndex((turn) => {
    tokens += tokensOf(turn);
    return tokens > maxConversationTokens;
  });
  // The newest stays, however long it is.
  return turns.slice(Math.min(from + 1, turns.length - 1));
}

function tokensOf({ question, answer }: Turn): number {
  return estimateTokens(question) + estimateTokens(answer);
}
