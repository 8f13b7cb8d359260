import { realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { startProjectHost, writeFiles, type ProjectHost } from "../support/project-host.ts";

let daemon: DaemonHome;
let project: string;
const hosts: ProjectHost[] = [];
const file = ".ollm/project.yaml";

beforeEach(async () => {
  daemon = await makeDaemonHome();
  project = await writeFiles(path.join(await realpath(daemon.folder), "cloned"), {
    [file]: "systemPrompt: Be brief.\n",
    ".ollm/templates/greet.yaml": "template: Greet {who}.\n",
  });
});

afterEach(async () => {
  await Promise.all(hosts.splice(0).map((host) => host.close()));
  await daemon.close();
});

/** System prompts of all chats with the engine, in their order. */
function systemPrompts(): readonly (string | undefined)[] {
  return daemon.ollama.requests
    .filter(({ path: asked }) => asked === "/api/chat")
    .map(({ body }) => {
      const { messages } = body as {
        readonly messages: readonly { readonly role: string; readonly content: string }[];
      };
      return messages.find(({ role }) => role === "system")?.content;
    });
}

describe.each(["legacy", "modern"] as const)("what a project brings along (%s)", (era) => {
  async function hostThatSays(answer: () => boolean): Promise<ProjectHost> {
    const host = await startProjectHost({ env: daemon.environment, cwd: project, era, answer });
    hosts.push(host);
    return host;
  }

  it("is asked about before the first call that would use it, and then used at once", async () => {
    const host = await hostThatSays(() => true);
    await host.tools();
    await host.data("list_models");
    await host.data("list_templates");
    expect(host.questions).toEqual([]);
    await host.data("route_and_generate", { prompt: "Why?" });
    await host.data("route_and_generate", { prompt: "Why?" });
    expect(host.questions).toHaveLength(1);
    expect(host.questions[0]).toContain("> Be brief.");
    expect(systemPrompts()).toEqual([expect.stringContaining("Be brief."), expect.stringContaining("Be brief.")]);
  });

  it("costs a call nothing where the user says no, and is asked about again only when it changes", async () => {
    const host = await hostThatSays(() => false);
    await host.data("route_and_generate", { prompt: "Why?" });
    expect(await host.data("route_and_generate", { prompt: "Why?" })).not.toHaveProperty("notes");
    await host.data("compare", { models: ["smollm2:135m", "smollm2"], prompt: "Why?" }).catch(() => undefined);
    await host.data("route_and_generate", { prompt: "Why?" });
    expect(host.questions).toHaveLength(1);
    await writeFile(path.join(project, file), "systemPrompt: Be long.\n");
    await daemon.until("the change is asked about", async () => {
      await host.data("route_and_generate", { prompt: "Why?" });
      return host.questions.length === 2;
    });
    expect(host.questions[1]).toContain("> Be long.");
    expect(systemPrompts().join("")).not.toMatch(/Be (?:brief|long)/);
    expect(await host.data("project_profile", { action: "show" })).toMatchObject({ is_trusted: false });
  });

  it("is asked about apart from what a template needs", async () => {
    const host = await hostThatSays(() => true);
    host.client.setRequestHandler("elicitation/create", ({ params }) => {
      host.questions.push(params.message);
      const fields = "requestedSchema" in params ? Object.keys(params.requestedSchema.properties) : [];
      return {
        action: "accept",
        content: Object.fromEntries(fields.map((name) => [name, name === "who" ? "Ann" : true])),
      };
    });
    expect(await host.data("render_template", { name: "greet" })).toMatchObject({ text: "Greet Ann." });
    expect(host.questions).toEqual([expect.stringContaining("Templates (prompts"), "Template greet needs who."]);
  });
});

it("fails no call of a client whose form fails", async () => {
  const answer = (): never => {
    throw new Error("nobody is there");
  };
  const host = await startProjectHost({ env: daemon.environment, cwd: project, answer });
  hosts.push(host);
  expect(await host.data("route_and_generate", { prompt: "Why?" })).toMatchObject({ text: "The sky is blue." });
  await host.data("route_and_generate", { prompt: "Why?" });
  expect(host.questions).toHaveLength(1);
});

it("is asked about anew when it changes under its form", async () => {
  const host = await startProjectHost({
    env: daemon.environment,
    cwd: project,
    async answer() {
      if (host.questions.length === 1) await writeFile(path.join(project, file), "systemPrompt: Be evil.\n");
      return host.questions.length === 1;
    },
  });
  hosts.push(host);
  await host.data("route_and_generate", { prompt: "Why?" });
  expect(host.questions.map((question) => /> (.*)/.exec(question)?.[1])).toEqual(["Be brief.", "Be evil."]);
  expect(systemPrompts().join("")).not.toContain("Be ");
});

it("never holds up the shell, which names its command", async () => {
  const shell = await startProjectHost({ env: daemon.environment, cwd: project, name: "ollm", answer: () => true });
  hosts.push(shell);
  const { notes } = await shell.data("route_and_generate", { prompt: "Why?" });
  expect(shell.questions).toEqual([]);
  expect(String(notes)).toContain('"ollm project trust"');
});
