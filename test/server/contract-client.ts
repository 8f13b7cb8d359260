import {
  Client as VersionTwoClient,
  SSEClientTransport,
  StreamableHTTPClientTransport,
} from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { Client as VersionOneClient } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as VersionOneSse } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport as VersionOneStdio } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as VersionOneHttp } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import type { ClientKind } from "../support/stdio-client.ts";

/** Where a server of ours is reached. */
export type Reach =
  | {
      readonly over: "stdio";
      readonly command: string;
      readonly args: readonly string[];
      readonly env: Record<string, string>;
    }
  | { readonly over: "http" | "sse"; readonly url: string; readonly token: string };

interface CallOptions {
  readonly onProgress?: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** A client of either SDK, reduced to what the contract uses. */
export interface ContractClient {
  /** Undefined with version 1 over stdio, which keeps it to itself. */
  protocolVersion(): string | undefined;
  serverName(): string | undefined;
  listTools(): Promise<readonly { readonly name: string }[]>;
  callTool(
    name: string,
    input: Record<string, unknown>,
    options?: CallOptions,
  ): Promise<{
    readonly content: unknown;
    readonly structuredContent?: unknown;
    readonly isError?: boolean | undefined;
  }>;
  readResource(uri: string): Promise<string>;
  /** Calls `onUpdate` with the URI at every change of it; resolves when the server has agreed. */
  subscribe(uri: string, onUpdate: (uri: string) => void): Promise<void>;
  /** As a client does that ends: sessions are ended, too. */
  close(): Promise<void>;
}

/** `elicit` answers what the user is asked; without it the client can't ask. */
export async function connectContractClient(
  kind: ClientKind,
  reach: Reach,
  elicit?: (message: string) => { action: "accept" | "decline"; content?: Record<string, boolean> },
): Promise<ContractClient> {
  return kind === "sdk-1" ? connectVersionOne(reach, elicit) : connectVersionTwo(kind, reach, elicit);
}

type Elicit = Parameters<typeof connectContractClient>[2];

async function connectVersionTwo(kind: "modern" | "legacy", reach: Reach, elicit: Elicit): Promise<ContractClient> {
  const client = new VersionTwoClient(
    { name: `contract-${kind}`, version: "1" },
    {
      capabilities: elicit === undefined ? {} : { elicitation: { form: {} } },
      versionNegotiation: { mode: kind === "modern" ? { pin: "2026-07-28" } : "legacy" },
    },
  );
  if (elicit !== undefined) client.setRequestHandler("elicitation/create", ({ params }) => elicit(params.message));
  const listeners = new Set<(uri: string) => void>();
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
    for (const listener of listeners) listener(params.uri);
  });
  const http =
    reach.over === "http" ? new StreamableHTTPClientTransport(new URL(reach.url), authorized(reach)) : undefined;
  const transport =
    reach.over === "stdio"
      ? new StdioClientTransport({ ...reach, args: [...reach.args], stderr: "ignore" })
      : (http ?? new SSEClientTransport(new URL(reach.url), authorized(reach)));
  await client.connect(transport);
  return {
    protocolVersion: () => client.getNegotiatedProtocolVersion(),
    serverName: () => client.getServerVersion()?.name,
    listTools: async () => (await client.listTools()).tools,
    callTool: (name, input, options = {}) => client.callTool({ name, arguments: input }, requestOptions(options)),
    readResource: async (uri) => textOf((await client.readResource({ uri })).contents),
    async subscribe(uri, onUpdate) {
      listeners.add(onUpdate);
      if (kind === "modern") await client.listen({ resourceSubscriptions: [uri] });
      else await client.subscribeResource({ uri });
    },
    async close() {
      if (kind === "legacy") await http?.terminateSession();
      await client.close();
    },
  };
}

async function connectVersionOne(reach: Reach, elicit: Elicit): Promise<ContractClient> {
  const client = new VersionOneClient(
    { name: "contract-sdk-1", version: "1" },
    { capabilities: elicit === undefined ? {} : { elicitation: {} } },
  );
  if (elicit !== undefined) client.setRequestHandler(ElicitRequestSchema, ({ params }) => elicit(params.message));
  const listeners = new Set<(uri: string) => void>();
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
    for (const listener of listeners) listener(params.uri);
  });
  const http = reach.over === "http" ? new VersionOneHttp(new URL(reach.url), authorized(reach)) : undefined;
  const transport =
    reach.over === "stdio"
      ? new VersionOneStdio({ ...reach, args: [...reach.args], stderr: "ignore" })
      : (http ?? new VersionOneSse(new URL(reach.url), authorized(reach)));
  await client.connect(transport);
  return {
    protocolVersion: () => http?.protocolVersion,
    serverName: () => client.getServerVersion()?.name,
    listTools: async () => (await client.listTools()).tools,
    async callTool(name, input, options = {}) {
      const { content, structuredContent, isError } = await client.callTool(
        { name, arguments: input },
        undefined,
        requestOptions(options),
      );
      return { content, structuredContent, isError: isError === true };
    },
    readResource: async (uri) => textOf((await client.readResource({ uri })).contents),
    async subscribe(uri, onUpdate) {
      listeners.add(onUpdate);
      await client.subscribeResource({ uri });
    },
    async close() {
      await http?.terminateSession();
      await client.close();
    },
  };
}

function authorized({ token }: { readonly token: string }) {
  return { requestInit: { headers: { authorization: `Bearer ${token}` } } };
}

function requestOptions({ onProgress, signal }: CallOptions) {
  return {
    ...(onProgress && {
      onprogress: ({ message = "" }: { message?: string | undefined }): void => onProgress(message),
    }),
    ...(signal && { signal }),
  };
}

function textOf(contents: readonly object[]): string {
  return contents.map((content) => ("text" in content ? String(content.text) : "")).join("");
}
