import type { Readable, Writable } from "node:stream";
import type { CallToolResult, ElicitRequestParams, ElicitResult, Progress } from "@modelcontextprotocol/client";
import { errorKey } from "../../next-steps/render.ts";
import type { NeededField } from "../../orchestrator/api/errors.ts";
import type { StoredProject } from "../../orchestrator/projects/trust.ts";
import { StdioTransport } from "../mcp/stdio-transport.ts";
import { type TextNote, detailsKey, streamKey, textNoteOf } from "../call/progress.ts";
import { defined } from "../../orchestrator/util/values.ts";

export type { TextNote } from "../call/progress.ts";
export type { StoredProject } from "../../orchestrator/projects/trust.ts";

interface CallOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
  /** Called with the answer's text as it is generated; without it no text is requested. */
  readonly onText?: (note: TextNote) => void;
  /** A question of a chat at a terminal: its model may remember and recall. */
  readonly isChat?: boolean;
}

/** A question to the user: a flat form. */
export interface Question {
  readonly message: string;
  readonly fields: readonly ({ readonly name: string } & Pick<
    NeededField,
    "type" | "description" | "isRequired" | "default" | "enum"
  >)[];
}

/** Values by field; undefined when the user declined. */
export type Answers = Readonly<Record<string, string | number | boolean>> | undefined;

/** An MCP connection to our own server. All calls reject when the connection breaks or `signal` aborts. */
export type ServerClient = Awaited<ReturnType<typeof connectServer>>;

/** The project of a working directory as a server started there would see it; undefined without one. */
export async function viewProject(location: {
  /** `OLLM_HOME` */
  readonly home: string;
  readonly workingDirectory: string;
  readonly userHome: string;
  /** `projects.detect` */
  readonly detects: boolean;
  /** `profiles` of the settings. */
  readonly profiles: Readonly<Record<string, unknown>>;
}): Promise<StoredProject | undefined> {
  const { home, workingDirectory, userHome, detects, profiles } = location;
  // Most commands don't need the readers of project files.
  const [{ findProjectFolder }, { readStoredProject }, { profileNames }, { createDocumentFiles }, { tools }] =
    await Promise.all([
      import("../files/allowed-paths.ts"),
      import("../../orchestrator/projects/trust.ts"),
      import("../../orchestrator/config/profiles.ts"),
      import("../../orchestrator/storage/document-files.ts"),
      import("../../tools/index.ts"),
    ]);
  const folder = await findProjectFolder({ workingDirectory, homeDirectory: userHome }, home, () =>
    Promise.resolve([]),
  );
  if (folder === undefined) return undefined;
  return readStoredProject(folder, {
    profiles: profileNames(profiles),
    tools,
    detects,
    files: createDocumentFiles(home),
  });
}

/** A server that sends nothing for this long is stuck: it sends progress at least every five seconds. */
const stallMs = 60_000;

const asksForErrors = { [errorKey]: true };

/** Connects to the server behind a front as a client would; `close` is the front's end. */
export async function connectServer(options: {
  readonly front: { readonly input: Readable; readonly output: Writable; close(): Promise<void> };
  readonly version: string;
  /** Asks the user a call's question; absent when there is no user to ask. */
  readonly ask?: (question: Question) => Promise<Answers>;
  readonly signal?: AbortSignal;
}) {
  const { Client } = await import("@modelcontextprotocol/client");
  const { ask, front } = options;
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
    await front.close();
  };
  try {
    const { signal } = options;
    await client.connect(new StdioTransport(front.input, front.output), { ...(signal && { signal }) });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    /** Resolves with the tool's result, also when it has `isError`. */
    callTool: (
      name: string,
      input: Readonly<Record<string, unknown>>,
      { signal, onProgress, onText, isChat }: CallOptions,
    ): Promise<CallToolResult> =>
      client.callTool(
        {
          name,
          arguments: { ...input },
          _meta: {
            ...asksForErrors,
            [detailsKey]: true,
            ...(onText && { [streamKey]: isChat === true ? "chat" : true }),
          },
        },
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
    /** The text of a resource, which is JSON. */
    async readResource(uri: string, signal: AbortSignal) {
      const { contents } = await client.readResource({ uri, _meta: asksForErrors }, { signal });
      return contents.map((content) => ("text" in content ? content.text : "")).join("\n");
    },
    /** Ends the connection and waits for its end. */
    close,
  };
}

/** Our own server's form as a question, as `formOf` (`server/call/ask-user.ts`) writes it. */
function questionOf({ message, requestedSchema }: Extract<ElicitRequestParams, { requestedSchema: unknown }>) {
  const { properties, required = [] } = requestedSchema;
  const fields = Object.entries(properties).map(([name, property]) => {
    const {
      type,
      description = name,
      default: preset,
      enum: allowed,
    } = property as Partial<Question["fields"][number]>;
    return {
      name,
      type: type ?? "string",
      description,
      isRequired: required.includes(name),
      ...defined({ default: preset, enum: allowed }),
    };
  });
  return { message, fields };
}
