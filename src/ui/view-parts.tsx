import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { visibleText } from "./format.ts";
import { type ToolResult, messageOf, textOf } from "./view-host.ts";

/** An action of a button: whether it runs, and what went wrong with the last one. */
export function useBusy() {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const attempt = async (action: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await action();
    } catch (error) {
      setProblem(messageOf(error));
    } finally {
      setBusy(false);
    }
  };
  return { isBusy, problem, attempt: (action: () => Promise<void>) => void attempt(action) };
}

/** What stands there while, or if, there is no answer that the view can show. */
export function Waiting(props: {
  readonly result: ToolResult | undefined;
  readonly ended: string | undefined;
  readonly children: ComponentChildren;
}) {
  const { result, ended, children } = props;
  if (result !== undefined)
    return <p class={result.isError === true ? "problem" : "plain"}>{visibleText(textOf(result))}</p>;
  return <p role="status">{ended === undefined ? children : visibleText(ended)}</p>;
}

export function Problem({ text }: { readonly text: string | undefined }) {
  return <p role="alert">{text !== undefined && <span class="problem">{visibleText(text)}</span>}</p>;
}

export function Notices({ lines }: { readonly lines: readonly string[] }) {
  if (lines.length === 0) return null;
  return (
    <ul class="notices">
      {lines.map((line) => (
        <li key={line}>{visibleText(line)}</li>
      ))}
    </ul>
  );
}
