import type { CallToolResult, Client } from "@modelcontextprotocol/client";
import { build } from "esbuild";
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import type { FrameLocator, Page } from "playwright-core";
import { assertAccessible } from "./accessibility.ts";
import { type Watched, watchedPage } from "./chromium.ts";
import { hostileModel, hostileText } from "./hostile.ts";
import { slowModel } from "./models.ts";
import type { TestHost } from "./view-page.ts";
import { type Check, type Scene, otherModel, realModel } from "./world.ts";

declare const host: TestHost;

interface Shown extends Watched {
  readonly client: Client;
  readonly view: FrameLocator;
  /** Calls that the view made, with their answers. */
  readonly calls: { readonly name: string; readonly result: CallToolResult }[];
}

/** Runs `work` with the view that `tool` names, in a page of the official host bridge. */
async function withView(
  { world, browser }: Scene,
  tool: string,
  theme: "light" | "dark",
  work: (shown: Shown) => Promise<void>,
): Promise<void> {
  const extensions = { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } };
  const client = await world.connect("test-host", extensions);
  const script = await build({
    entryPoints: [fileURLToPath(new URL("view-page.ts", import.meta.url))],
    bundle: true,
    write: false,
    format: "iife",
    logLevel: "error",
  });
  const page = `<!doctype html><html lang="en"><title>host</title><body><script>${script.outputFiles[0]?.text.replaceAll("</script", String.raw`<\/script`)}</script>`;
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const context = await browser.newContext({ viewport: { width: 720, height: 900 } });
  try {
    const watched = await watchedPage(context, origin);
    const calls: Shown["calls"] = [];
    await watched.page.exposeFunction("callDaemon", async (name: string, input: Record<string, unknown>) => {
      const result = await client.callTool({ name, arguments: input });
      calls.push({ name, result });
      return result;
    });
    await watched.page.exposeFunction("readDaemon", async (uri: string) => client.readResource({ uri }));
    await watched.page.goto(origin);
    const html = await viewOf(client, tool);
    await watched.page.evaluate(([text, shown]) => host.open(text, { theme: shown }), [html, theme] as const);
    await work({ ...watched, client, calls, view: watched.page.frameLocator("iframe") });
    assert.deepEqual(watched.executed, [], "scripts of foreign texts ran");
    assert.deepEqual(watched.violations, [], "the policy had to refuse something");
    assert.deepEqual(watched.foreign, [], "requests left the page");
    assert.deepEqual(watched.errors, [], "the page threw");
  } finally {
    await context.close();
    await client.close();
    server.close();
    server.closeAllConnections();
  }
}

async function viewOf(client: Client, tool: string): Promise<string> {
  const { tools } = await client.listTools();
  const uri = (tools.find(({ name }) => name === tool)?._meta as { ui?: { resourceUri?: string } } | undefined)?.ui
    ?.resourceUri;
  assert.ok(uri !== undefined, `${tool} names no view`);
  const { contents } = await client.readResource({ uri });
  const [content] = contents;
  assert.ok(content !== undefined && "text" in content, `${uri} is no text`);
  return content.text;
}

async function compared({ client, page }: Shown, models: readonly string[], prompt: string): Promise<CallToolResult> {
  const input = { prompt, models: [...models], max_tokens: 100 };
  await page.evaluate((values) => host.input(values), input);
  return await client.callTool({ name: "compare", arguments: input });
}

const send = (page: Page, result: CallToolResult) => page.evaluate((value) => host.result(value), result);

const pickWinner: Check = [
  "view: compare shows the answers of real models, and pick_winner reaches the daemon",
  (scene) =>
    withView(scene, "compare", "light", async (shown) => {
      const { page, view, calls } = shown;
      const asked = compared(shown, [realModel, otherModel], "Write one sentence about the sea.");
      await view.getByText(`Asking ${realModel}, ${otherModel}`).waitFor();
      const result = await asked;
      await send(page, result);
      await view.getByRole("article", { name: realModel }).getByText("tokens/s").waitFor();
      const [first] = (result.structuredContent as { results: { text: string }[] }).results;
      const answer = view.getByRole("group", { name: `Answer of ${realModel}` });
      assert.equal((await answer.textContent())?.trim(), first?.text.trim());
      await view.getByRole("button", { name: `Pick as winner: ${otherModel}` }).click();
      await view.getByText(`Routing now prefers ${otherModel}`).waitFor();
      assert.deepEqual(
        calls.map(({ name }) => name),
        ["pick_winner"],
      );
      const { preferences } = await picks(scene);
      assert.equal(preferences[0]?.model, otherModel);
      assert.match((await page.evaluate(() => host.told)).join(), new RegExp(`picked ${otherModel}`));
      await view.getByRole("button", { name: "Undo" }).click();
      await view.getByRole("button", { name: `Pick as winner: ${realModel}` }).waitFor();
      assert.deepEqual((await picks(scene)).preferences, []);
    }),
];

async function picks({ world }: Scene): Promise<{ readonly preferences: readonly { readonly model: string }[] }> {
  const client = await world.connect("judge");
  try {
    const { structuredContent } = await client.callTool({ name: "pick_winner", arguments: { action: "list" } });
    return structuredContent as { preferences: { model: string }[] };
  } finally {
    await client.close();
  }
}

const hostile: Check = [
  "view: markup in prompts, names of models and answers is text",
  (scene) =>
    withView(scene, "compare", "dark", async (shown) => {
      const { page, view } = shown;
      await send(page, await compared(shown, [hostileModel, "echo:latest"], hostileText));
      const answer = view.getByRole("group", { name: /Answer of <img/ });
      await answer.getByText("onerror=").first().waitFor();
      await answer.getByText("link (javascript:").waitFor();
      assert.equal(await view.locator("article :is(img, iframe, script, a), .prompt img").count(), 0);
      await assertAccessible(page, "compare view with hostile texts");
    }),
];

const themes: Check = [
  "view: theme, style variables and size follow the host; teardown is answered",
  (scene) =>
    withView(scene, "system_status", "light", async (shown) => {
      const { page, view, client } = shown;
      await send(page, await client.callTool({ name: "system_status", arguments: {} }));
      await view.getByText("memory available").waitFor();
      await assertAccessible(page, "status view, light");
      const background = () => view.locator("body").evaluate((body) => getComputedStyle(body).backgroundColor);
      const light = await background();
      await page.evaluate(() => host.context({ theme: "dark" }));
      await page.waitForTimeout(100);
      assert.notEqual(await background(), light);
      await assertAccessible(page, "status view, dark");
      await page.evaluate(() =>
        host.context({ styles: { variables: { "--color-background-primary": "rgb(1, 2, 3)" } as never } }),
      );
      await page.waitForTimeout(100);
      assert.equal(await background(), "rgb(1, 2, 3)");
      const heights = await page.evaluate(() => host.heights);
      assert.ok(heights.length > 0 && (heights.at(-1) ?? 0) > 60, `heights: ${heights.join()}`);
      assert.deepEqual(await page.evaluate(() => host.teardown()), {});
    }),
];

const refresh: Check = [
  "view: status refreshes, and shows what went wrong",
  (scene) =>
    withView(scene, "system_status", "light", async (shown) => {
      const { page, view, client, calls } = shown;
      await client.callTool({ name: "manage_model", arguments: { action: "unload_all", model: realModel } });
      await send(page, await client.callTool({ name: "system_status", arguments: {} }));
      await view.getByText("No model is loaded.").waitFor();
      await client.callTool({ name: "smart_load", arguments: { model: realModel } });
      await view.getByRole("button", { name: "Refresh" }).click();
      await view.getByText(realModel).waitFor();
      await view.getByRole("button", { name: `Unload ${realModel}` }).click();
      await view.getByText("No model is loaded.").waitFor();
      assert.deepEqual(
        calls.map(({ name }) => name),
        ["system_status", "manage_model", "system_status"],
      );
      await client.callTool({ name: "smart_load", arguments: { model: realModel } });
      await view.getByRole("button", { name: "Refresh" }).click();
      await view.getByText(realModel).waitFor();
      await client.close();
      await view.getByRole("button", { name: "Refresh" }).click();
      await view.getByRole("alert").getByText(/./).waitFor();
      assert.equal(await view.getByText(realModel).count(), 1, "the last status stays");
    }),
];

const errors: Check = [
  "view: a failed or cancelled call is said",
  async (scene) => {
    await withView(scene, "compare", "light", async ({ page, view, client }) => {
      await send(
        page,
        await client.callTool({
          name: "compare",
          arguments: { prompt: "Hi", models: ["absent:1b", "missing:2b"] },
        }),
      );
      await view.getByText("absent:1b").first().waitFor();
    });
    await withView(scene, "compare", "dark", async ({ page, view }) => {
      await page.evaluate(() => host.cancelled("the user pressed stop"));
      await view.getByText("The call was cancelled: the user pressed stop.").waitFor();
    });
  },
];

const running: Check = [
  "view: a comparison beyond the assistant's patience shows its columns; a long prompt in full on request",
  async (scene) => {
    await scene.world.ollm("config", "set", "jobs.patience", "1");
    try {
      await withView(scene, "compare", "light", async (shown) => {
        const { page, view } = shown;
        await send(page, await compared(shown, [slowModel.name, "echo:latest"], "Take your time.\n".repeat(30)));
        await view.getByText("The models are still answering").waitFor();
        for (const model of [slowModel.name, "echo:latest"]) await view.getByRole("article", { name: model }).waitFor();
        const answer = view.getByRole("group", { name: `Answer of ${slowModel.name}` });
        while (!(await answer.getByText("word word").isVisible())) {
          await view.getByRole("button", { name: "Show the answers so far" }).click();
          await page.waitForTimeout(300);
        }
        await assertAccessible(page, "a comparison that is still running");
        const prompt = view.getByRole("group", { name: "Prompt" });
        const folded = (await prompt.boundingBox())?.height ?? 0;
        await view.getByRole("button", { name: "Show all: Prompt" }).click();
        assert.ok(((await prompt.boundingBox())?.height ?? 0) > 2 * folded, "the prompt is not shown in full");
        while (!(await view.getByRole("button", { name: /^Pick as winner: echo/ }).isVisible())) {
          await view
            .getByRole("button", { name: "Wait for the answers" })
            .click({ timeout: 500 })
            .catch(() => undefined);
        }
      });
    } finally {
      await scene.world.ollm("config", "unset", "jobs.patience");
    }
  },
];

const cut: Check = [
  "view: an answer that was cut is read in full on request",
  (scene) =>
    withView(scene, "compare", "light", async (shown) => {
      const { page, view } = shown;
      const { structuredContent, ...rest } = await compared(shown, [hostileModel, "echo:latest"], "Attack.");
      const data = structuredContent as { readonly results: readonly { readonly text: string }[] };
      const [first, ...others] = data.results;
      const results = [{ ...first, text: first?.text.slice(0, 20), is_cut: true }, ...others];
      await send(page, { ...rest, structuredContent: { ...data, results } });
      const answer = view.getByRole("group", { name: /Answer of <img/ });
      await answer.waitFor();
      assert.equal(await answer.getByText("link (javascript:").count(), 0);
      await view.getByRole("button", { name: /^Show all: Answer of <img/ }).click();
      await answer.getByText("link (javascript:").waitFor();
    }),
];

const partial: Check = [
  "view: status says what is missing in an answer, and shows the rest",
  (scene) =>
    withView(scene, "system_status", "light", async ({ page, view }) => {
      const engines = [{ id: "ollama", health: "ok", model_count: 2 }];
      await send(page, { content: [], structuredContent: { engines } });
      await view.getByText("ollama ok, 2 models").waitFor();
      await view.getByText("says nothing of the memory").waitFor();
      await send(page, { content: [] });
      await view.getByText("The assistant passed on nothing").waitFor();
      await view.getByRole("button", { name: "Refresh" }).click();
      await view.getByText("memory available").waitFor();
    }),
];

export const viewChecks: readonly Check[] = [pickWinner, hostile, themes, refresh, errors, running, cut, partial];
