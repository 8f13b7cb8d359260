import type { ComparedModel } from "../facade-compare.ts";
import type { OperationContext } from "../operations/operations.ts";

/** Tells how far every model is. */
export interface Board {
  /** What one model reports with. */
  of(model: string): OperationContext;
  done(result: ComparedModel): void;
}

/**
 * Progress is one line over all models, in the order asked for: `a: done, 12.5 tokens/s | b: 40 tokens | c: waits`. The
 * text so far has a line `=== a ===` before the answer of each. Texts of models that answer at the same time would
 * mingle, so theirs are shown when they are done.
 */
export function createBoard(
  models: readonly { readonly model: string; readonly isRefused: boolean }[],
  context: OperationContext,
  isOneByOne: boolean,
): Board {
  const states = new Map(models.map(({ model, isRefused }) => [model, isRefused ? "failed" : "waits"]));
  const tokens = new Map<string, number>();
  const finished: string[] = [];
  /** What was written since the last model was done. */
  let isDirty = false;
  const tell = () => {
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
        tell();
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
      tell();
    },
  };
}

/** Its name stands before it already: `a: loading (2.1 GB)`. */
function withoutName(message: string, model: string): string {
  const own = [`${model}: `, `${model} `].find((head) => message.startsWith(head));
  if (own !== undefined) return message.slice(own.length);
  const [verb, name, ...rest] = message.split(" ");
  return verb === "loading" && name === model ? [verb, ...rest].join(" ") : message;
}

function headOf(model: string): string {
  return `=== ${model} ===\n`;
}
