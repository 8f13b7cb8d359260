import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";

interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly impact: string | null;
    readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
  }[];
}

const require = createRequire(import.meta.url);
let source: Promise<string> | undefined;

/** Fails when axe finds anything serious or critical in the page or in one of its frames. */
export async function assertAccessible(page: Page, what: string): Promise<void> {
  source ??= readFile(require.resolve("axe-core/axe.min.js"), "utf8");
  const script = await source;
  const problems: string[] = [];
  for (const frame of page.frames()) {
    // Evaluated by the debugger, so the page's policy doesn't refuse it.
    await frame.evaluate(script);
    const { violations } = await frame.evaluate(() =>
      (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
    );
    for (const { id, impact, nodes } of violations) {
      if (impact !== "serious" && impact !== "critical") continue;
      problems.push(...nodes.map(({ html, failureSummary = "" }) => `${impact} ${id}: ${html}\n${failureSummary}`));
    }
  }
  assert.deepEqual(problems, [], what);
}
