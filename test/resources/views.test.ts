import { expect, it, onTestFinished } from "vitest";
import type { ResourceData } from "../../src/resources/index.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { type Era, type MemoryClientOptions, connectMemoryClient } from "../support/memory-client.ts";

const compareView = "ui://ollm/compare" satisfies keyof ResourceData;
const statusView = "ui://ollm/status" satisfies keyof ResourceData;
const views = [compareView, statusView];
const appHost: MemoryClientOptions["extensions"] = {
  "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] },
};
/** Below what hosts and their users notice, with room for more. */
const limitBytes = 90_000;

async function connected(options: MemoryClientOptions) {
  const { client, close } = await connectMemoryClient(createFakeOrchestrator(), options);
  onTestFinished(close);
  return client;
}

it.each<Era>(["legacy", "modern"])("a client that shows views is told of them: %s", async (era) => {
  const client = await connected({ era, extensions: appHost });
  const { tools } = await client.listTools();
  const shown = tools.flatMap(({ name, _meta }) => (_meta?.["ui"] === undefined ? [] : [[name, _meta]]));
  expect(shown).toEqual([
    ["compare", { ui: { resourceUri: compareView } }],
    ["system_status", { ui: { resourceUri: statusView } }],
  ]);
  const { resources } = await client.listResources();
  expect(resources.map(({ uri }) => uri)).toEqual(expect.arrayContaining(views));
});

it.each<[Era, MemoryClientOptions["extensions"]]>([
  ["legacy", undefined],
  ["modern", undefined],
  ["modern", { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html"] } }],
])("another client pays nothing for views: %s %j", async (era, extensions) => {
  const client = await connected({ era, ...(extensions && { extensions }) });
  expect((await client.listTools()).tools.filter(({ _meta }) => _meta?.["ui"] !== undefined)).toEqual([]);
  const { resources } = await client.listResources();
  expect(resources.filter(({ uri }) => uri.startsWith("ui:"))).toEqual([]);
});

it.each(views)("%s is one small page that requests nothing", async (uri) => {
  const client = await connected({ era: "modern" });
  const { contents } = await client.readResource({ uri });
  expect(contents).toMatchObject([
    { uri, mimeType: "text/html;profile=mcp-app", _meta: { ui: { csp: {}, prefersBorder: true } } },
  ]);
  const [content] = contents;
  const html = content !== undefined && "text" in content ? content.text : "";
  expect(Buffer.byteLength(html)).toBeGreaterThan(5_000);
  expect(Buffer.byteLength(html)).toBeLessThan(limitBytes);
  const policy = /Content-Security-Policy" content="([^"]+)"/.exec(html)?.[1];
  expect(policy).toMatch(/^default-src 'none'; script-src 'sha256-[^' ]+'; style-src 'sha256-[^' ]+';/);
  expect(policy).toContain("connect-src 'none'");
  // The script of the library that reads Markdown has such texts; its policy loads nothing either.
  const marks = html.replaceAll(/(<script[^>]*>)[^]*?(?=<\/script>)/g, "$1");
  expect(marks).toContain("<script");
  expect(marks).not.toMatch(/<(script|link|img|iframe)[^>]+(src|href)="(?!data:)/);
});

it.each<Era>(["legacy", "modern"])(
  "a view gets the whole status, beside what its client gives the model: %s",
  async (era) => {
    const whole = { version: "0.1.0", home: "/home/user/.ollm" };
    const plain = await (await connected({ era })).callTool({ name: "system_status", arguments: {} });
    expect(plain.structuredContent).not.toHaveProperty("home");
    expect(JSON.stringify(plain._meta ?? {})).not.toContain("details");
    const shown = await (
      await connected({ era, extensions: appHost })
    ).callTool({ name: "system_status", arguments: {} });
    expect(shown.structuredContent).toEqual(plain.structuredContent);
    expect(shown._meta?.["ollm/details"]).toMatchObject(whole);
    // Our own shell and pages.
    const own = await (
      await connected({ era })
    ).callTool({
      name: "system_status",
      arguments: {},
      _meta: { "ollm/details": true },
    });
    expect(own.structuredContent).toMatchObject(whole);
  },
);
