/** A host of MCP Apps, in the page: the protocol's own bridge around a view in a frame of an opaque origin. */
import { AppBridge, type McpUiHostContext, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";
import type { CallToolResult, ReadResourceResult } from "@modelcontextprotocol/client";

/** What the checks do with the host, from outside. */
export interface TestHost {
  open(html: string, context: McpUiHostContext): Promise<void>;
  input(values: Record<string, unknown>): Promise<void>;
  result(result: CallToolResult): Promise<void>;
  cancelled(reason: string): Promise<void>;
  context(context: McpUiHostContext): void;
  teardown(): Promise<unknown>;
  readonly heights: number[];
  readonly told: string[];
}

/** Given by the checks: calls a tool of the daemon. */
declare function callDaemon(name: string, input: Record<string, unknown>): Promise<CallToolResult>;

/** Reads a resource of the daemon. */
declare function readDaemon(uri: string): Promise<ReadResourceResult>;

let bridge: AppBridge | undefined;
const heights: number[] = [];
const told: string[] = [];

const host: TestHost = {
  heights,
  told,
  async open(html, hostContext) {
    const frame = document.createElement("iframe");
    frame.title = "view";
    // As hosts do: scripts, and nothing of the host's own.
    frame.setAttribute("sandbox", "allow-scripts");
    frame.style.cssText = "width: 100%; height: 600px; border: 0";
    document.body.replaceChildren(frame);
    const view = frame.contentWindow;
    if (view === null) throw new Error("the frame has no window");
    const capabilities = { serverTools: {}, serverResources: {}, updateModelContext: { text: {} } };
    bridge = new AppBridge(null, { name: "test-host", version: "1.0.0" }, capabilities, { hostContext });
    bridge.oncalltool = ({ name, arguments: input = {} }) => callDaemon(name, input);
    bridge.onreadresource = ({ uri }) => readDaemon(uri);
    bridge.onupdatemodelcontext = async ({ content = [] }) => {
      told.push(...content.map((block) => (block.type === "text" ? block.text : "")));
      return {};
    };
    bridge.onsizechange = ({ height = 0 }) => {
      heights.push(height);
      frame.style.height = `${height}px`;
    };
    const initialized = new Promise<void>((resolve) => {
      if (bridge !== undefined) bridge.oninitialized = () => resolve();
    });
    await bridge.connect(new PostMessageTransport(view, view));
    frame.srcdoc = html;
    await initialized;
  },
  input: async (values) => bridge?.sendToolInput({ arguments: values }),
  result: async (result) => bridge?.sendToolResult(result),
  cancelled: async (reason) => bridge?.sendToolCancelled({ reason }),
  context: (context) => bridge?.setHostContext(context),
  teardown: async () => bridge?.teardownResource({}),
};

Object.assign(globalThis, { host });
