const anthropic = "platform.claude.com/docs/en/about-claude/pricing";
const openAi = "developers.openai.com/api/docs/pricing";
const google = "ai.google.dev/gemini-api/docs/pricing";

/**
 * List prices of cloud models that assistants use: the standard tier, uncached input, and the price of short prompts where
 * long ones cost more. Of two prices by time of day it is the lower one, so that savings are rather too low.
 */
export const referencePrices: ReadonlyMap<
  string,
  {
    readonly promptPerMillion: number;
    readonly answerPerMillion: number;
    /** The day on which the price was read, ISO 8601. */
    readonly asOf: string;
    /** Where the price is published. */
    readonly source: string;
  }
> = new Map(
  Object.entries({
    "claude-fable-5-1": { promptPerMillion: 10, answerPerMillion: 50, asOf: "2026-10-24", source: anthropic },
    "claude-opus-5-5": { promptPerMillion: 4, answerPerMillion: 20, asOf: "2026-10-24", source: anthropic },
    "claude-sonnet-5-5": { promptPerMillion: 2, answerPerMillion: 10, asOf: "2026-10-24", source: anthropic },
    // Prompts of more than 100,000 tokens cost five times as much.
    "claude-haiku-5-5": { promptPerMillion: 0.1, answerPerMillion: 0.5, asOf: "2026-10-24", source: anthropic },
    "gpt-6-astra": { promptPerMillion: 10, answerPerMillion: 50, asOf: "2026-10-16", source: openAi },
    "gpt-6.1-sol": { promptPerMillion: 2, answerPerMillion: 10, asOf: "2026-10-16", source: openAi },
    "gpt-6.1-terra": { promptPerMillion: 1, answerPerMillion: 5, asOf: "2026-10-26", source: openAi },
    "gpt-6-luna": { promptPerMillion: 0.1, answerPerMillion: 0.5, asOf: "2026-10-16", source: openAi },
    "gemini-3.1-pro-preview": { promptPerMillion: 2, answerPerMillion: 12, asOf: "2026-08-05", source: google },
    // Doubles on 2027-01-01.
    "gemini-3.8-flash": { promptPerMillion: 0.75, answerPerMillion: 3.75, asOf: "2026-10-07", source: google },
    "kimi-k3": {
      promptPerMillion: 3,
      answerPerMillion: 15,
      asOf: "2026-07-18",
      source: "platform.kimi.ai/docs/pricing/chat-k3",
    },
    // Twice as much on working days from 9 to 12 and 14 to 18, Beijing time.
    "deepseek-v4-pro": {
      promptPerMillion: 0.66,
      answerPerMillion: 1.98,
      asOf: "2026-08-15",
      source: "api-docs.deepseek.com/quick_start/pricing",
    },
    "mistral-large-4": {
      promptPerMillion: 1.36,
      answerPerMillion: 4.18,
      asOf: "2026-10-20",
      source: "docs.mistral.ai/models/mistral-large-4-0",
    },
    "mistral-medium-3.5": {
      promptPerMillion: 1.5,
      answerPerMillion: 7.5,
      asOf: "2026-07-02",
      source: "docs.mistral.ai/models/mistral-medium-3-5-26-04",
    },
    "grok-4.5": { promptPerMillion: 2, answerPerMillion: 6, asOf: "2026-08-05", source: "docs.x.ai/docs/models" },
  }),
);

/** The usual model of many assistants; its price is between the dearest and the cheapest of the table. */
export const defaultReferenceModel = "claude-sonnet-5-5";
