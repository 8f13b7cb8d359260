import type { CallToolResult, ElicitResult, Progress, Tool } from "@modelcontextprotocol/client";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { ProjectAtRest } from "../orchestrator/projects/at-rest.ts";
import type { ProjectLocation } from "./project-view.ts";
import { createStdioTransport } from "./stdio-transport.ts";
import { errorKey } from "../next-steps/error-data.ts";
import { streamKey, textNoteOf, type TextNote } from "./text-notes.ts";
import { isWholeDiskBySlip } from "../orchestrator/config/expand-home.ts";

export { errorDataIn, type ErrorData } from "../next-steps/error-data.ts";
export type { TextNote } from "./text-notes.ts";
export type { ProjectAtRest } from "../orchestrator/projects/at-rest.ts";

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
  /** The answer's text as it grows; asked for only where somebody listens. */
  readonly onText?: (note: TextNote) => void;
}

/** What a call would have to ask the user: a flat form, field by field. */
export interface Question {
  readonly message: string;
  readonly fields: readonly {
    readonly name: string;
    readonly type: "string" | "number" | "boolean";
    readonly description: string;
    readonly isRequired: boolean;
    readonly default?: string | number | boolean;
    readonly enum?: readonly string[];
  }[];
}

/** By field; undefined: the user did not agree. */
export type Answers = Readonly<Record<string, string | number | boolean>> | undefined;

/** A connection to a server of our own, speaking MCP. All calls reject when the connection breaks or `signal` aborts. */
export interface ServerClient {
  /** The tool's result, `isError` included. */
  callTool(name: string, input: Readonly<Record<string, unknown>>, options: CallOptions): Promise<CallToolResult>;
  /** Those on offer to this caller. */
  listTools(signal: AbortSignal): Promise<readonly Tool[]>;
  /** The text of a resource: JSON. */
  readResource(uri: string, signal: AbortSignal): Promise<string>;
  /** The text of a prompt's messages. */
  getPrompt(name: string, variables: Readonly<Record<string, string>>, signal: AbortSignal): Promise<string>;
  /** Ends the server and waits until it is gone. */
  close(): Promise<void>;
}

/** The project of a working directory, read without a daemon; undefined where there is none. */
export async function viewProject(location: ProjectLocation): Promise<ProjectAtRest | undefined> {
  // With the readers of project files: most commands need none.
  const { readProjectView } = await import("./project-view.ts");
  return readProjectView(location);
}

/** A server that sends nothing for this long hangs: it sends progress at least every five seconds. */
const stallMs = 60_000;

const asksForErrors = { [errorKey]: true };

/** What a front may take to end after its client has closed its end; then it is killed. */
const endMs = 3_000;

/**
 * Starts `script` with `node` as a client would, so through the daemon, and connects to it; what it says goes to `say`.
 * In a process group of its own: an interrupt at the terminal is for us, who then cancel the call before it ends.
 */
export async function startServer(options: {
  readonly node: string;
  readonly script: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** Where the caller works; this process's own when absent. */
  readonly workingDirectory?: string;
  /** Folders that the user named in so many words: their files may be read. */
  readonly roots?: readonly string[];
  /** Puts a call's question before the user; absent: nobody can answer. */
  readonly ask?: (question: Question) => Promise<Answers>;
  readonly signal?: AbortSignal;
  /** Gets the lines of its stderr, each ended. */
  readonly say: (line: string) => void;
}): Promise<ServerClient> {
  const { Client } = await import("@modelcontextprotocol/client");
  const { ask, roots = [] } = options;
  const child = spawn(options.node, [options.script, ...roots.flatMap((folder) => ["--root", meant(folder)])], {
    env: { ...options.environment },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
    windowsHide: true,
    ...(options.workingDirectory !== undefined && { cwd: options.workingDirectory }),
  });
  relayStderr(child.stderr, options.say);
  const exited = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const client = new Client(
    { name: "ollm", version: options.version },
    { capabilities: ask === undefined ? {} : { elicitation: { form: {} } } },
  );
  if (ask !== undefined) {
    client.setRequestHandler("elicitation/create", async ({ params }): Promise<ElicitResult> => {
      const answers = "requestedSchema" in params ? await ask(questionOf(params)) : undefined;
      return answers === undefined ? { action: "decline" } : { action: "accept", content: { ...answers } };
    });
  }
  const close = async (): Promise<void> => {
    await client.close();
    child.stdin.end();
    // Nobody listens any more: a front that waits for its last words to be taken would not end.
    child.stdout.resume();
    const timer = setTimeout(() => child.kill("SIGKILL"), endMs);
    await exited;
    clearTimeout(timer);
  };
  try {
    const { signal } = options;
    await client.connect(createStdioTransport(child.stdout, child.stdin), { ...(signal && { signal }) });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    callTool: (name, input, { signal, onProgress, onText }) =>
      client.callTool(
        { name, arguments: { ...input }, _meta: { ...asksForErrors, ...(onText && { [streamKey]: true }) } },
        {
          signal,
          resetTimeoutOnProgress: true,
          timeout: stallMs,
          onprogress(progress) {
            const note = textNoteOf(progress);
            if (note === undefined) onProgress(progress);
            else onText?.(note);
          },
        },
      ),
    listTools: async (signal) => (await client.listTools(undefined, { signal })).tools,
    async readResource(uri, signal) {
      const { contents } = await client.readResource({ uri, _meta: asksForErrors }, { signal });
      return contents.map((content) => ("text" in content ? content.text : "")).join("\n");
    },
    async getPrompt(name, variables, signal) {
      const { messages } = await client.getPrompt(
        { name, arguments: { ...variables }, _meta: asksForErrors },
        { signal },
      );
      return messages.map(({ content }) => (content.type === "text" ? content.text : "")).join("\n\n");
    },
    close,
  };
}

/** What a client's log wants to know is noise at a terminal: that a daemon was started. All else is shown. */
function relayStderr(output: Readable, say: (line: string) => void): void {
  createInterface({ input: output }).on("line", (line) => {
    if (!/^ollm: (no daemon holds .*; starting one|connected to the daemon \(pid )/.test(line)) {
      say(`${line}\n`);
    }
  });
}

function questionOf({
  message,
  requestedSchema,
}: {
  readonly message: string;
  readonly requestedSchema: { readonly properties: object; readonly required?: readonly string[] | undefined };
}): Question {
  const { properties, required = [] } = requestedSchema;
  const fields = Object.entries(properties as Readonly<Record<string, unknown>>).map(([name, property]) => {
    const field = property as {
      readonly type?: unknown;
      readonly description?: string;
      readonly default?: string | number | boolean;
      readonly enum?: readonly string[];
    };
    return {
      name,
      type: typeOf(field.type),
      description: field.description ?? name,
      isRequired: required.includes(name),
      ...(field.default !== undefined && { default: field.default }),
      ...(field.enum !== undefined && { enum: field.enum }),
    };
  });
  return { message, fields };
}

function typeOf(type: unknown): "string" | "number" | "boolean" {
  return type === "boolean" || type === "number" ? type : type === "integer" ? "number" : "string";
}

/** `/.` for `/`, which the server takes for an unset variable: here it is the folder of a file that the user named. */
function meant(folder: string): string {
  return isWholeDiskBySlip(folder, folder) ? `${folder}.` : folder;
}
