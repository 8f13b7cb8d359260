import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { StoreFailed } from "../../../src/orchestrator/api/errors.ts";
import type { Comparison, Preference } from "../../../src/orchestrator/api/facade-compare.ts";
import { applyComparison, bounded, openComparisons } from "../../../src/orchestrator/compare/comparisons.ts";
import { applyPreference, noPreferences } from "../../../src/orchestrator/routing/evidence.ts";
import { openPreferences } from "../../../src/orchestrator/watch/learning.ts";
import { type DocumentFiles, createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";

const maxTextCharacters = 100_000;

type ComparisonsState = Parameters<typeof applyComparison>[0];

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };

const comparison = (id: string, text = "Blue."): Comparison => ({
  id,
  createdAt: "2026-11-21T12:00:00.000Z",
  prompt: "Which colour?",
  task: "general",
  results: [
    { model: "a", engine: "ollama", text, tokensPerSecond: 12.5 },
    { model: "b", engine: "", text: "", error: "no model b" },
  ],
  order: "a (already loaded)",
});

const preference = (model: string, task: Preference["task"] = "code"): Preference => ({
  task,
  model,
  comparisonId: "compare-1",
  pickedAt: "2026-11-21T12:00:00.000Z",
});

describe("stored comparisons", () => {
  it("are the newest hundred", () => {
    const state: ComparisonsState = { comparisons: [] };
    for (let count = 0; count < 120; count += 1) {
      applyComparison(state, { type: "compared", comparison: comparison(`compare-${count}`) });
    }
    expect(state.comparisons).toHaveLength(100);
    expect(state.comparisons[0]?.id).toBe("compare-20");
  });

  it("are fewer if they are large, but always include the newest", () => {
    const state: ComparisonsState = { comparisons: [] };
    for (let count = 0; count < 12; count += 1) {
      applyComparison(state, { type: "compared", comparison: comparison(`compare-${count}`, "x".repeat(1_000_000)) });
    }
    expect(state.comparisons.map(({ id }) => id)).toEqual(
      Array.from({ length: 7 }, (_none, index) => `compare-${index + 5}`),
    );
    applyComparison(state, { type: "compared", comparison: comparison("huge", "x".repeat(9_000_000)) });
    expect(state.comparisons.map(({ id }) => id)).toEqual(["huge"]);
  });

  it("have long texts cut, with a note", () => {
    const { results } = bounded(comparison("compare-1", "x".repeat(maxTextCharacters + 1)));
    expect(results[0]?.text).toMatch(/x\n\[cut: 100001 characters in total\]$/);
    expect(bounded(comparison("compare-1"))).toEqual(comparison("compare-1"));
  });
});

describe("stored picks", () => {
  it("are the newest twenty of each task", () => {
    const state = noPreferences();
    applyPreference(state, { type: "preferred", preference: preference("other", "fast") });
    for (let count = 0; count < 25; count += 1) {
      applyPreference(state, { type: "preferred", preference: preference(`m${count}`) });
    }
    expect(state.preferences).toHaveLength(21);
    expect(state.preferences[0]?.model).toBe("other");
    expect(state.preferences[1]?.model).toBe("m5");
    applyPreference(state, { type: "undone", task: "code" });
    expect(state.preferences.at(-1)?.model).toBe("m23");
  });
});

describe("documents on disk", () => {
  const folders: string[] = [];
  const opened: DocumentFiles[] = [];
  afterEach(async () => {
    // Documents are not closed here, as after a kill: their journals are.
    for (const disk of opened.splice(0))
      await Promise.all(["comparisons.journal", "preferences.journal"].map(disk.release));
    await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true, force: true })));
  });

  async function files(): Promise<DocumentFiles> {
    const folder = await mkdtemp(path.join(tmpdir(), "ollm-compare-"));
    folders.push(folder);
    const disk = createDocumentFiles(folder);
    opened.push(disk);
    return disk;
  }

  it("are read again, even after the daemon was killed", async () => {
    const disk = await files();
    const comparisons = await openComparisons(log, disk);
    await comparisons.append({ type: "compared", comparison: comparison("compare-1") });
    await comparisons.append({ type: "picked", id: "compare-1", model: "a" });
    const preferences = await openPreferences(log, disk);
    await preferences.append({ type: "preferred", preference: preference("a") });
    // Neither was closed.
    const again = await openComparisons(log, disk);
    expect(again.state.comparisons).toEqual([{ ...comparison("compare-1"), winner: "a" }]);
    expect((await openPreferences(log, disk)).state.preferences).toEqual([preference("a")]);
    await again.close();
    expect((await openComparisons(log, disk)).state.comparisons).toHaveLength(1);
  });

  it("are set aside when they can't be read, and new entries are stored", async () => {
    const disk = await files();
    await disk.replace("preferences.json", "{");
    const preferences = await openPreferences(log, disk);
    expect(preferences.state.preferences).toEqual([]);
    expect(preferences.problems).toHaveLength(1);
    await preferences.append({ type: "preferred", preference: preference("a") });
    expect((await openPreferences(log, disk)).state.preferences).toEqual([preference("a")]);
  });

  it("are unchanged when a write fails because the disk is full", async () => {
    const disk = await files();
    const full = { ...disk, append: () => Promise.reject(new StoreFailed("no space left on the disk")) };
    const preferences = await openPreferences(log, full);
    await expect(preferences.append({ type: "preferred", preference: preference("a") })).rejects.toBeInstanceOf(
      StoreFailed,
    );
    expect(preferences.state.preferences).toEqual([]);
  });
});
