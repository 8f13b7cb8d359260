import { realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../support/daemon-home.ts";
import { startProjectClient, writeFiles, type ProjectClient } from "../support/project-client.ts";

let daemon: DaemonHome;
let project: string;
const clients: ProjectClient[] = [];
const file = ".ollm/project.yaml";

beforeEach(async () => {
  daemon = await makeDaemonHome();
  project = await writeFiles(path.join(await realpath(daemon.folder), "cloned"), {
    [file]: "systemPrompt: Be brief.\n",
    ".ollm/templates/greet.yaml": "template: Greet {who}.\n",
  });
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
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
  async function clientThatSays(answer: () => boolean): Promise<ProjectClient> {
    const client = await startProjectClient({ env: daemon.environment, cwd: project, era, answer });
    clients.push(client);
    return client;
  }

  it("is asked about before the first call that would use it, and then used at once", async () => {
    const client = await clientThatSays(() => true);
    await client.tools();
    await client.data("list_models");
    await client.data("list_templates");
    expect(client.questions).toEqual([]);
    await client.data("route_and_generate", { prompt: "Why?" });
    await client.data("route_and_generate", { prompt: "Why?" });
    expect(client.questions).toHaveLength(1);
    expect(client.questions[0]).toContain("> Be brief.");
    expect(systemPrompts()).toEqual([expect.stringContaining("Be brief."), expect.stringContaining("Be brief.")]);
  });

  it("costs a call nothing where the user says no, and is asked about again only when it changes", async () => {
    const client = await clientThatSays(() => false);
    await client.data("route_and_generate", { prompt: "Why?" });
    expect(await client.data("route_and_generate", { prompt: "Why?" })).not.toHaveProperty("notes");
    await client.data("compare", { models: ["smollm2:135m", "smollm2"], prompt: "Why?" }).catch(() => undefined);
    await client.data("route_and_generate", { prompt: "Why?" });
    expect(client.questions).toHaveLength(1);
    await writeFile(path.join(project, file), "systemPrompt: Be long.\n");
    await daemon.until("the change is asked about", async () => {
      await client.data("route_and_generate", { prompt: "Why?" });
      return client.questions.length === 2;
    });
    expect(client.questions[1]).toContain("> Be long.");
    expect(systemPrompts().join("")).not.toMatch(/Be (?:brief|long)/);
    expect(await client.data("project_profile", { action: "show" })).toMatchObject({ is_trusted: false });
  });

  it("is asked about apart from what a template needs", async () => {
    const client = await clientThatSays(() => true);
    client.sdkClient.setRequestHandler("elicitation/create", ({ params }) => {
      client.questions.push(params.message);
      const fields = "requestedSchema" in params ? Object.keys(params.requestedSchema.properties) : [];
      return {
        action: "accept",
        content: Object.fromEntries(fields.map((name) => [name, name === "who" ? "Ann" : true])),
      };
    });
    expect(await client.data("route_and_generate", { template: "greet", dry_run: true })).toHaveProperty("plan");
    expect(client.questions).toEqual([expect.stringContaining("Templates (prompts"), "Template greet needs who."]);
  });
});

it("fails no call of a client whose form fails", async () => {
  const answer = (): never => {
    throw new Error("nobody is there");
  };
  const client = await startProjectClient({ env: daemon.environment, cwd: project, answer });
  clients.push(client);
  expect(await client.data("route_and_generate", { prompt: "Why?" })).toMatchObject({ text: "The sky is blue." });
  await client.data("route_and_generate", { prompt: "Why?" });
  expect(client.questions).toHaveLength(1);
});

it("is asked about anew when it changes under its form", async () => {
  const client = await startProjectClient({
    env: daemon.environment,
    cwd: project,
    async answer() {
      if (client.questions.length === 1) await writeFile(path.join(project, file), "systemPrompt: Be evil.\n");
      return client.questions.length === 1;
    },
  });
  clients.push(client);
  await client.data("route_and_generate", { prompt: "Why?" });
  expect(client.questions.map((question) => /> (.*)/.exec(question)?.[1])).toEqual(["Be brief.", "Be evil."]);
  expect(systemPrompts().join("")).not.toContain("Be ");
});

it("never holds up the shell, which names its command", async () => {
  const shell = await startProjectClient({ env: daemon.environment, cwd: project, name: "ollm", answer: () => true });
  clients.push(shell);
  const { notes } = await shell.data("route_and_generate", { prompt: "Why?" });
  expect(shell.questions).toEqual([]);
  expect(String(notes)).toContain("`ollm project trust`");
});
