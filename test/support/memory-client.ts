import { type CallToolResult, Client, type JSONValue } from "@modelcontextprotocol/client";
import { InMemoryTransport, type JSONRPCMessage } from "@modelcontextprotocol/server";
import type { Orchestrator } from "../../src/orchestrator/api/facade.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { serveConnection } from "../../src/server/mcp/create-server.ts";
import type { CallRecord } from "../../src/server/call/caller.ts";
import { plainSettings } from "./caller-settings.ts";

export type Era = "legacy" | "modern";

/** What the user answers when asked; undefined means that the client can't ask. */
type Elicited = {
  readonly action: "accept" | "decline" | "cancel";
  readonly content?: Record<string, string | number | boolean>;
};

export interface MemoryClientOptions {
  /** The setting `log.prompts`. */
  readonly notesPrompts?: boolean;
  readonly era?: Era;
  readonly elicit?: (message: string) => Elicited;
  /** URIs of the client's roots. */
  readonly roots?: readonly string[];
  /** The client's answer to `roots/list`, instead of `roots`. */
  readonly answerRoots?: () => unknown;
  readonly workingDirectory?: string;
  readonly homeDirectory?: string;
  readonly fileRoots?: readonly string[];
  readonly open?: () => Promise<never>;
  /** In the home, where workers have their copies. */
  readonly configFile?: string;
  /** The name that the client reports. */
  readonly clientName?: string;
  /** The setting `jobs.patience`. */
  readonly patienceSeconds?: number;
  /** Extensions that the client declares, with their settings. */
  readonly extensions?: Readonly<Record<string, Record<string, JSONValue>>>;
  /** The setting `tools.sets`. */
  readonly toolSets?: readonly string[];
}

export interface MemoryClient {
  readonly client: Client;
  /** Lines that the server logged. */
  readonly logged: string[];
  readonly questions: string[];
  /** One record for each finished call. */
  readonly noted: CallRecord[];
  /** Every message that the client has received since it connected. */
  readonly received: JSONRPCMessage[];
  call(name: string, input?: Record<string, unknown>): Promise<CallToolResult>;
  close(): Promise<void>;
}

/** Connects a real client to the real server, with the given orchestrator, in memory, in either protocol era. */
export async function connectMemoryClient(
  orchestrator: Orchestrator,
  options: MemoryClientOptions = {},
): Promise<MemoryClient> {
  const logged: string[] = [];
  const questions: string[] = [];
  const noted: CallRecord[] = [];
  const parts = {
    version: "0.0.0-test",
    log: createLog("warn", (line) => logged.push(line)),
    noteCall: (record: CallRecord) => noted.push(record),
    notesPrompts: () => options.notesPrompts === true,
    id: "caller-1",
    workingDirectory: options.workingDirectory ?? "/nonexistent",
    homeDirectory: options.homeDirectory ?? "/nonexistent-home",
    mayOfferRoots: true,
    open:
      options.open ??
      (async () => ({
        orchestrator,
        callerSettings: {
          ...plainSettings,
          jobs: { patience: options.patienceSeconds ?? 45 },
          ...(options.toolSets && { tools: { sets: options.toolSets, disabled: [] } }),
        },
        fileRoots: options.fileRoots ?? [],
        warnings: [],
        configFile: options.configFile ?? "/home/user/.ollm/config.yaml",
      })),
  };
  const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
  serveConnection(parts, serverSide);

  const { elicit, roots, answerRoots, extensions } = options;
  const client = new Client(
    { name: options.clientName ?? "test-client", version: "1.0.0" },
    {
      capabilities: {
        ...(elicit && { elicitation: { form: {} } }),
        ...((roots ?? answerRoots) && { roots: {} }),
        ...(extensions && { extensions }),
      },
      versionNegotiation: { mode: options.era === "modern" ? { pin: "2026-07-28" } : "legacy" },
    },
  );
  if (elicit !== undefined) {
    client.setRequestHandler("elicitation/create", ({ params }) => {
      questions.push(params.message);
      return elicit(params.message);
    });
  }
  if (roots !== undefined) {
    client.setRequestHandler("roots/list", () => ({ roots: roots.map((uri) => ({ uri })) }));
  }
  if (answerRoots !== undefined) {
    client.setRequestHandler("roots/list", () => answerRoots() as { roots: { uri: string }[] });
  }
  await client.connect(clientSide);
  const received: JSONRPCMessage[] = [];
  const handle = clientSide.onmessage;
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the SDK has no other way.
  clientSide.onmessage = (message, extra) => {
    received.push(message);
    handle?.(message, extra);
  };
  return {
    client,
    logged,
    questions,
    noted,
    received,
    call: (name, input = {}) => client.callTool({ name, arguments: input }),
    close: () => client.close(),
  };
}
