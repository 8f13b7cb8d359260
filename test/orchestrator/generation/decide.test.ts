import { expect, it } from "vitest";
import type { CallerContext, CallerProject } from "../../../src/orchestrator/api/types.ts";
import { decide } from "../../../src/orchestrator/generation/resolve.ts";
import { findProfile } from "../../../src/orchestrator/config/profiles.ts";
import { plainSettings } from "../../support/caller-settings.ts";

const project = (profile: string, isProfileDetected: boolean): CallerProject => ({
  folder: "/project",
  evidence: [],
  isTrusted: true,
  settings: { profile },
  ...(isProfileDetected && { isProfileDetected: true }),
  notes: [],
});

const caller = (isProfileDetected: boolean, kind = "rust"): CallerContext => ({
  id: "test",
  client: "test",
  roots: [],
  settings: plainSettings,
  project: project(kind, isProfileDetected),
  signal: new AbortController().signal,
});

const rust = findProfile("rust");
const about = { prompt: "Fix this", task: "debugging" } as const;

it("a kind that is only detected ranks models for code and changes no prompt", () => {
  const { profile } = decide(caller(true), about);
  expect(profile).toMatchObject({ name: "rust", families: rust?.families });
  for (const key of ["system", "temperature", "topP", "maxTokens"]) expect(profile).not.toHaveProperty(key);
});

it.each([true, false])("a kind takes nothing that is not about code (detected: %s)", (isDetected) => {
  for (const task of ["general", "question_answering", "translation", "summarization", "vision"] as const) {
    expect(decide(caller(isDetected), { prompt: "Hi", task }).profile).toBe(findProfile("general"));
  }
  expect(decide(caller(isDetected), { prompt: "Hi", task: "creative" }).profile).toBe(findProfile("creative"));
});

it("documentation takes only what is asked about its files", () => {
  const files = (path: string) => [{ path, text: "" }];
  const nameFor = (path?: string) =>
    decide(caller(false, "documentation"), {
      prompt: "Shorten it",
      task: "general",
      ...(path !== undefined && { files: files(path) }),
    }).profile.name;
  expect(nameFor()).toBe("general");
  expect(nameFor("notes.csv")).toBe("general");
  expect(nameFor("docs/guide.md")).toBe("documentation");
});

it("a kind that the project's file names, or the request, is used whole", () => {
  expect(rust?.system).toBeDefined();
  expect(decide(caller(false), about).profile).toEqual(rust);
  expect(decide(caller(true), { prompt: "Hi", profile: "rust" }).profile).toEqual(rust);
});
