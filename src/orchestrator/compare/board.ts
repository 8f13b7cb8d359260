import type { ComparedModel } from "../api/facade-compare.ts";
import type { OperationContext } from "../jobs/operations.ts";

/** Progress and text of a comparison. */
export interface Board {
  /** The context in which one model runs. */
  of(model: string): OperationContext;
  done(result: ComparedModel): void;
}

/**
 * Progress is one line for all models, in the requested order: `a: done, 12.5 tokens/s | b: 40 tokens | c: waits`. In
 * the text, a line `=== a ===` precedes each answer. When models answer at the same time (`isOneByOne` is false), each
 * answer is added once it is complete, so that they don't interleave.
 */
export function createBoard(
  models: readonly { readonly model: string; readonly isRefused: boolean }[],
  context: OperationContext,
  isOneByOne: boolean,
): Board {
  const states = new Map(models.map(({ model, isRefused }) => [model, isRefused ? "failed" : "waits"]));
  const tokens = new Map<string, number>();
  const finished: string[] = [];
  /** Text was added since the last model finished. */
  let isDirty = false;
  const reportAll = () => {
    const message = [...states].map(([model, state]) => `${model}: ${state}`).join(" | ");
    const completionTokens = [...tokens.values()].reduce((sum, each) => sum + each, 0);
    context.report({ message, ...(completionTokens > 0 ? { completionTokens } : {}) });
  };
  const startOver = () => {
    if (isDirty) {
      context.clearText();
      for (const text of finished) context.addText(text);
    }
    isDirty = false;
  };
  return {
    of: (model) => ({
      signal: context.signal,
      report({ message, completionTokens, completedBytes = 0, totalBytes = 0 }) {
        const part = totalBytes > 0 ? ` ${Math.floor((100 * completedBytes) / totalBytes)}%` : "";
        states.set(model, withoutName(message, model) + part);
        if (completionTokens !== undefined) tokens.set(model, completionTokens);
        reportAll();
      },
      addText(delta) {
        if (!isOneByOne) return;
        if (!isDirty) context.addText(headOf(model));
        isDirty = true;
        context.addText(delta);
      },
      addThinking: () => undefined,
      clearText: startOver,
    }),
    done({ model, text, error, tokensPerSecond }) {
      const speed = tokensPerSecond === undefined ? "done" : `done, ${tokensPerSecond.toFixed(1)} tokens/s`;
      states.set(model, error === undefined ? speed : "failed");
      startOver();
      const section = `${headOf(model)}${error === undefined ? text : `failed: ${error}`}\n\n`;
      finished.push(section);
      context.addText(section);
      reportAll();
    },
  };
}

/** The message without the model's name, which precedes it anyway: `a: loading (2.1 GB)`. */
function withoutName(message: string, model: string): string {
  const own = [`${model}: `, `${model} `].find((head) => message.startsWith(head));
  if (own !== undefined) return message.slice(own.length);
  const [verb, name, ...rest] = message.split(" ");
  return verb === "loading" && name === model ? [verb, ...rest].join(" ") : message;
}

function headOf(model: string): string {
  return `=== ${model} ===\n`;
}
