import assert from "node:assert/strict";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "playwright-core";
import { withDashboard } from "./dashboard.ts";
import { type Check, type World, realModel } from "./world.ts";

const model = "counted-model";
const client = "counted-client";
const answered = 6;
const failed = 2;
const openMinutes = 10;

/** A server of OpenAI's protocol that counts what it says by itself. */
async function startCountingServer() {
  const sent: { readonly prompt: number; readonly completion: number }[] = [];
  const state = { fails: false };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.setHeader("content-type", "application/json");
    if (request.url?.endsWith("/models") === true)
      return void response.end(JSON.stringify({ object: "list", data: [{ id: model, object: "model" }] }));
    for await (const _part of request);
    if (state.fails) {
      response.statusCode = 400;
      return void response.end(JSON.stringify({ error: { message: "refused by the counting server" } }));
    }
    const [prompt, completion] = [100 + sent.length * 37, 3 + sent.length];
    sent.push({ prompt, completion });
    response.setHeader("content-type", "text/event-stream");
    const chunk = (more: object) =>
      response.write(`data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk", model, ...more })}\n\n`);
    for (let at = 0; at < completion; at += 1)
      chunk({ choices: [{ index: 0, delta: { content: `word${at} ` }, finish_reason: null }] });
    chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
    chunk({
      choices: [],
      usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion },
    });
    response.end("data: [DONE]\n\n");
  };
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return { url, sent, state, close: () => new Promise((resolve) => server.close(resolve)) };
}

async function ask(world: World, prompt: string): Promise<void> {
  const asking = await world.connect(client);
  const call = { model, prompt, use_memory: false, temperature: 0.5 };
  await asking.callTool({ name: "route_and_generate", arguments: call });
  await asking.close();
}

/** The text beside a title: of the overview's figures, or of a request's facts. */
const beside = (page: Page, title: string) =>
  page
    .locator("dl > div")
    .filter({ has: page.locator(`dt:text-is("${title}")`) })
    .locator("dd")
    .first()
    .textContent();

const numberIn = (text: string | null) => Number((text ?? "").replaceAll(/[^\d.]/g, ""));

const figures: Check = [
  "counted: the figures of the page are those of a server that counts by itself",
  async (scene) => {
    const { world } = scene;
    const server = await startCountingServer();
    try {
      const entry = [{ id: "counted", kind: "local", baseUrl: server.url }];
      await world.ollm("config", "set", "providers.openai", JSON.stringify(entry));
      await withDashboard(scene, async ({ page, show }) => {
        const before = numberIn(await beside(page, "Requests, 1 h"));
        const failedBefore = numberIn(await beside(page, "Failed, 1 h"));
        for (let at = 0; at < answered; at += 1) await ask(world, `Question ${at}`);
        server.state.fails = true;
        for (let at = 0; at < failed; at += 1) await ask(world, `Refused ${at}`);
        await page.waitForFunction(
          ([title, wanted]) =>
            [...document.querySelectorAll("dl > div")].some(
              (each) => each.children[0]?.textContent === title && Number(each.children[1]?.textContent) === wanted,
            ),
          ["Requests, 1 h", before + answered + failed] as const,
        );
        assert.equal(numberIn(await beside(page, "Failed, 1 h")), failedBefore + failed);

        await page.evaluate((name) => (location.hash = `#/activity?client=${name}`), client);
        await page.locator(`table[aria-label="Requests"][aria-rowcount="${1 + answered + failed}"]`).waitFor();
        const rows = page.getByRole("table", { name: "Requests" }).getByRole("row");
        assert.equal(await rows.filter({ hasText: "failed" }).count(), failed);
        // Newest first, below the head and the failures.
        for (const [at, { prompt, completion }] of server.sent.toReversed().entries()) {
          const row = rows.nth(1 + failed + at);
          assert.match((await row.textContent()) ?? "", new RegExp(`answered.*${prompt + completion}`));
          await row.getByRole("button").click();
          const dialog = page.getByRole("dialog", { name: `Request of ${client}` });
          await dialog.waitFor();
          assert.equal(numberIn(await beside(page, "Tokens read")), prompt);
          assert.equal(numberIn(await beside(page, "Tokens written")), completion);
          await page.keyboard.press("Escape");
          await dialog.waitFor({ state: "detached" });
        }
        // The table of groups counts the same, also after a reload.
        const groups = page.getByRole("table", { name: "Groups by model" }).getByRole("row").filter({ hasText: model });
        const tokens = server.sent.reduce((sum, { prompt, completion }) => sum + prompt + completion, 0);
        const cells = await groups.getByRole("cell").allTextContents();
        const success = `${Math.floor((answered / (answered + failed)) * 100)} %`;
        assert.deepEqual(cells.slice(0, 2), [String(answered + failed), success]);
        assert.equal(cells[4], tokens < 1_000 ? String(tokens) : `${(tokens / 1_000).toFixed(1).replace(/\.0$/, "")}k`);
        assert.match(cells[5] ?? "", new RegExp(`^${failed} × `));
        await page.getByRole("checkbox", { name: "task" }).click();
        await page.getByRole("table", { name: "Groups by model, task" }).waitFor();
        assert.match(await page.evaluate(() => location.hash), /by=model%2Ctask/);
        await page.reload();
        await page.getByRole("table", { name: "Groups by model, task" }).waitFor();
        // And by the timeline.
        await show("decisions");
        const line = page.getByRole("table", { name: "Models over time" }).getByRole("row").filter({ hasText: model });
        await line.getByText(String(answered), { exact: true }).first().waitFor();
        await show("models");
        await page.getByRole("table", { name: "Models of counted" }).getByText(model).waitFor();
      });
    } finally {
      await world.ollm("config", "unset", "providers.openai");
      await server.close();
    }
  },
];

/** Run by its name alone: it takes as long as it says. */
const unbroken: Check = [
  `unbroken: an open page has one stream for ${openMinutes} minutes`,
  (scene) =>
    withDashboard(scene, async ({ page }) => {
      let streams = 0;
      await page.reload();
      page.on("request", (request) => {
        if (request.url().endsWith("/dashboard/events")) streams += 1;
      });
      await page.getByText("Connected", { exact: true }).waitFor();
      const asking = await scene.world.connect("unbroken");
      for (let minute = 0; minute < openMinutes; minute += 1) {
        // Half of the minutes are idle.
        if (minute % 2 === 0) {
          const input = { model: realModel, prompt: `Count to ${minute}.`, max_tokens: 20, use_memory: false };
          await asking.callTool({ name: "route_and_generate", arguments: input });
        }
        for (let second = 0; second < 60; second += 1) {
          await page.waitForTimeout(1_000);
          assert.equal(
            await page.getByText("Connected", { exact: true }).count(),
            1,
            `after ${minute} min ${second} s`,
          );
        }
      }
      await asking.close();
      assert.ok(streams <= 1, `${streams} streams`);
    }),
];

export const countedChecks: readonly Check[] = [figures];
export const longChecks: readonly Check[] = [unbroken];
