import { Client, type CallToolResult } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { builtCommand } from "./stdio-client.ts";

/** A client that was started in a folder, as assistants are. */
export interface ProjectClient {
  readonly sdkClient: Client;
  /** The questions that its user was asked. */
  readonly questions: string[];
  /** `tools/list_changed` notifications so far. */
  listChanges(): number;
  tools(): Promise<readonly string[]>;
  call(name: string, input?: Record<string, unknown>): Promise<CallToolResult>;
  /** Like `call`, but returns the structured content; throws if the result is an error. */
  data(name: string, input?: Record<string, unknown>): Promise<Record<string, unknown>>;
  /** Changes the roots and notifies the server. */
  offer(folders: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

export interface ProjectClientOptions {
  readonly env: Record<string, string>;
  readonly cwd: string;
  readonly era?: "legacy" | "modern";
  readonly args?: readonly string[];
  /** Folders that it offers as roots. */
  readonly roots?: readonly string[];
  /** The user's answer to each yes-or-no question; absent: the client can't ask. */
  readonly answer?: () => boolean | Promise<boolean>;
  readonly name?: string;
}

/** Starts the built server in `cwd` and connects to it. */
export async function startProjectClient(options: ProjectClientOptions): Promise<ProjectClient> {
  const { answer, env, cwd } = options;
  let roots = options.roots;
  const questions: string[] = [];
  let changes = 0;
  const client = new Client(
    { name: options.name ?? "test-client", version: "1" },
    {
      capabilities: { ...(answer && { elicitation: { form: {} } }), ...(roots && { roots: { listChanged: true } }) },
      versionNegotiation: { mode: options.era === "modern" ? { pin: "2026-07-28" } : "legacy" },
    },
  );
  if (answer !== undefined) {
    client.setRequestHandler("elicitation/create", async ({ params }) => {
      questions.push(params.message);
      const fields = "requestedSchema" in params ? Object.keys(params.requestedSchema.properties) : [];
      const said = await answer();
      return { action: "accept", content: Object.fromEntries(fields.map((name) => [name, said])) };
    });
  }
  if (roots !== undefined) {
    client.setRequestHandler("roots/list", () => ({
      roots: (roots ?? []).map((folder) => ({ uri: pathToFileURL(folder).href })),
    }));
  }
  client.setNotificationHandler("notifications/tools/list_changed", () => {
    changes += 1;
  });
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [builtCommand, ...(options.args ?? [])],
      env,
      cwd,
      stderr: "ignore",
    }),
  );
  const call = (name: string, input: Record<string, unknown> = {}) => client.callTool({ name, arguments: input });
  return {
    sdkClient: client,
    questions,
    listChanges: () => changes,
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    call,
    async data(name, input) {
      const result = await call(name, input);
      if (result.isError === true) throw new Error(JSON.stringify(result.content));
      return result.structuredContent as Record<string, unknown>;
    },
    async offer(folders) {
      roots = folders;
      await client.sendRootsListChanged();
    },
    close: () => client.close(),
  };
}

/** Writes files by their paths in `folder`, creating their folders. */
export async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<string> {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  return folder;
}
