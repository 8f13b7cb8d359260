import assert from "node:assert/strict";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Page } from "playwright-core";
import { say } from "../conformance/judges.ts";
import { type Opened, withDashboard } from "./dashboard.ts";
import { type Check, type Scene, type World, realModel } from "./world.ts";

const model = "counted-model";
const client = "counted-client";
const answered = 6;
const refused = 2;
const cutAfter = 7;
const prices = {
  inputPerMillion: 1_000,
  cachedInputPerMillion: 100,
  outputPerMillion: 5_000,
  currency: "EUR",
  date: "2026-11-22",
};
const leastFigures = 20;
const openMinutes = 10;

/** An answer as its server saw it; times in milliseconds since the request had arrived. */
interface Sent {
  readonly prompt: number;
  readonly cached: number;
  readonly completion: number;
  readonly firstMs: number;
  readonly totalMs: number;
}

/** A server of OpenAI's protocol that counts what it says by itself. */
async function startCountingServer() {
  const sent: Sent[] = [];
  const state = { does: "answer" as "answer" | "refuse" | "hold", held: 0, received: 0, running: 0 };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const beganMs = performance.now();
    response.setHeader("content-type", "application/json");
    if (request.url?.endsWith("/models") === true)
      return void response.end(JSON.stringify({ object: "list", data: [{ id: model, object: "model" }] }));
    for await (const _part of request);
    state.received += 1;
    state.running += 1;
    response.once("close", () => (state.running -= 1));
    if (state.does === "refuse") {
      response.statusCode = 400;
      return void response.end(JSON.stringify({ error: { message: "refused by the counting server" } }));
    }
    const at = sent.length;
    const [prompt, cached, completion] = [100 + at * 37, at * 11, 40 + at];
    response.setHeader("content-type", "text/event-stream");
    const chunk = (more: object) =>
      response.write(`data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk", model, ...more })}\n\n`);
    const word = (text: string) => chunk({ choices: [{ index: 0, delta: { content: text }, finish_reason: null }] });
    if (state.does === "hold") {
      // A letter each: the daemon takes longer ones for several tokens until it is told how many they were.
      for (; state.held < cutAfter; state.held += 1) word("abcdefg".charAt(state.held));
      return;
    }
    await delay(150 + at * 50);
    const firstMs = performance.now() - beganMs;
    for (let number = 0; number < completion; number += 1) {
      if (number > 0) await delay(12);
      word(`word${number} `);
    }
    chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
    const usage = {
      prompt_tokens: prompt,
      completion_tokens: completion,
      total_tokens: prompt + completion,
      prompt_tokens_details: { cached_tokens: cached },
    };
    chunk({ choices: [], usage });
    sent.push({ prompt, cached, completion, firstMs, totalMs: performance.now() - beganMs });
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

/** `1,234`, `12.3k`, `1.2 s` in milliseconds: the first number of a text, in its unit. */
function numberIn(text: string | null): number {
  const [, digits = "", unit = ""] = /([\d.,]+)\s?(k\b|s\b|)/.exec(text ?? "") ?? [];
  return Number(digits.replaceAll(",", "")) * (unit === "" ? 1 : 1_000);
}

/** Compares what the page shows with what a server counted, and counts the kinds of figures. */
class Figures {
  readonly kinds = new Set<string>();

  same(kind: string, shown: number | string, counted: number | string): void {
    this.kinds.add(kind);
    assert.equal(shown, counted, kind);
  }

  /** Of times: the daemon sees the server's, and what lies between the two. */
  near(kind: string, shown: number, least: number, most: number): void {
    this.kinds.add(kind);
    assert.ok(shown >= least && shown <= most, `${kind}: ${shown} is not between ${least} and ${most}`);
  }
}

/** Amounts are shown in cents. */
const centRound = 0.0051;
const costOf = ({ prompt, cached, completion }: Sent): number =>
  ((prompt - cached) * prices.inputPerMillion +
    cached * prices.cachedInputPerMillion +
    completion * prices.outputPerMillion) /
  1e6;
const sumOf = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);
const tokensText = (tokens: number): string =>
  tokens < 1_000 ? String(tokens) : `${(tokens / 1_000).toFixed(1).replace(/\.0$/, "")}k`;
/** A machine that is busy answers later. */
const slackMs = 1_500;

/** The requests of the list, newest first, and what each says when it is opened. */
async function compareRequests(page: Page, sent: readonly Sent[], figures: Figures): Promise<void> {
  const rows = page.getByRole("table", { name: "Requests" }).getByRole("row");
  figures.same("failed requests in the list", await rows.filter({ hasText: "failed" }).count(), refused);
  for (const [at, each] of sent.toReversed().entries()) {
    const { prompt, cached, completion, firstMs, totalMs } = each;
    const row = rows.nth(1 + refused + at);
    const cells = await row.getByRole("cell").allTextContents();
    figures.same("outcome of a request", cells[3] ?? "", "answered");
    figures.same("tokens of a request", cells[6] ?? "", tokensText(prompt + completion));
    await row.getByRole("button").click();
    const dialog = page.getByRole("dialog", { name: `Request of ${client}` });
    await dialog.waitFor();
    figures.same("tokens read", numberIn(await beside(page, "Tokens read")), prompt);
    figures.same("tokens written", numberIn(await beside(page, "Tokens written")), completion);
    if (cached > 0) figures.same("tokens from a cache", numberIn(await beside(page, "From a cache")), cached);
    figures.near("first token", numberIn(await beside(page, "First token after")), firstMs - 100, firstMs + slackMs);
    figures.near("time in all", numberIn(await beside(page, "In all")), totalMs - 100, totalMs + slackMs);
    const speed = ((completion - 1) * 1_000) / (totalMs - firstMs);
    figures.near("tokens per second", numberIn(await beside(page, "Tokens per second")), speed * 0.7, speed * 1.4);
    const cost = costOf(each);
    figures.near("cost of a request", numberIn(await beside(page, "Cost")), cost - centRound, cost + centRound);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
  }
}

/** An answer that the page cancels, and the models of an engine that counts its loads. */
async function compareWork(
  scene: Scene,
  { page, show }: Opened,
  figures: Figures,
  held: { readonly held: number; readonly running: number },
) {
  const { world } = scene;
  await show("overview");
  const asked = ask(world, "Hold");
  const line = page.getByRole("listitem").filter({ hasText: "Cancel" }).filter({ hasText: model });
  await line.getByText(`${cutAfter} tokens`).first().waitFor();
  figures.same(
    "tokens so far",
    numberIn(
      await line
        .getByText(/^\d+ tokens$/)
        .first()
        .textContent(),
    ),
    held.held,
  );
  figures.same("requests that run", await line.count(), held.running);
  await line.getByRole("button", { name: /^Cancel/ }).click();
  await asked;
  await page.evaluate((name) => (location.hash = `#/activity?client=${name}&outcome=cancelled`), client);
  await page.locator('table[aria-label="Requests"][aria-rowcount="2"]').waitFor();
  await page.getByRole("table", { name: "Requests" }).getByRole("button").first().click();
  figures.same("tokens of a cancelled answer", numberIn(await beside(page, "Tokens written")), held.held);
  await page.keyboard.press("Escape");
}

const compared: Check = [
  `counted: at least ${leastFigures} figures of the page are those of servers that count by themselves`,
  async (scene) => {
    const { world } = scene;
    const server = await startCountingServer();
    const { sent, state } = server;
    try {
      const entry = [{ id: "counted", kind: "local", baseUrl: server.url, prices }];
      await world.ollm("config", "set", "providers.openai", JSON.stringify(entry));
      await withDashboard(scene, async (opened) => {
        const { page, show } = opened;
        const all = new Figures();
        const before = numberIn(await beside(page, "Requests, 1 h"));
        const failedBefore = numberIn(await beside(page, "Failed, 1 h"));
        for (let at = 0; at < answered; at += 1) await ask(world, `Question ${at}`);
        state.does = "refuse";
        for (let at = 0; at < refused; at += 1) await ask(world, `Refused ${at}`);
        await page.waitForFunction(
          ([title, wanted]) =>
            [...document.querySelectorAll("dl > div")].some(
              (each) => each.children[0]?.textContent === title && Number(each.children[1]?.textContent) === wanted,
            ),
          ["Requests, 1 h", before + answered + refused] as const,
        );
        all.same("requests of the hour", numberIn(await beside(page, "Requests, 1 h")) - before, state.received);
        all.same("failures of the hour", numberIn(await beside(page, "Failed, 1 h")) - failedBefore, refused);

        await page.evaluate((name) => (location.hash = `#/activity?client=${name}`), client);
        await page.locator(`table[aria-label="Requests"][aria-rowcount="${1 + state.received}"]`).waitFor();
        all.kinds.add("requests in the list");
        await compareRequests(page, sent, all);
        // The table of groups counts the same, also after a reload.
        const groups = page.getByRole("table", { name: "Groups by model" }).getByRole("row").filter({ hasText: model });
        const [requests = "", success = "", time = "", speed = "", tokens = "", errors = "", , cost = ""] = await groups
          .getByRole("cell")
          .allTextContents();
        all.same("requests of a group", requests, String(state.received));
        all.same("success of a group", success, `${Math.floor((answered / (answered + refused)) * 100)} %`);
        const spent = sumOf(sent.map(costOf));
        const longestMs = Math.max(...sent.map(({ totalMs }) => totalMs));
        all.near("p95 of a group's times", numberIn(time.split(", ")[1] ?? ""), longestMs * 0.7, longestMs + slackMs);
        all.same("timed answers of a group", /\((\d+)\)/.exec(speed)?.[1] ?? speed, String(answered));
        all.same("tokens of a group", tokens, tokensText(sumOf(sent.map((each) => each.prompt + each.completion))));
        all.same("errors of a group, by kind", errors.replace(/ × .*/, ""), String(refused));
        all.near("cost of a group", numberIn(cost), spent - centRound, spent + centRound);
        await page.getByRole("checkbox", { name: "task" }).click();
        await page.getByRole("table", { name: "Groups by model, task" }).waitFor();
        assert.match(await page.evaluate(() => location.hash), /by=model%2Ctask/);
        await page.reload();
        await page.getByRole("table", { name: "Groups by model, task" }).waitFor();
        // And by the timeline.
        await show("decisions");
        const line = page.getByRole("table", { name: "Models over time" }).getByRole("row").filter({ hasText: model });
        await line.getByText(String(answered), { exact: true }).first().waitFor();
        all.kinds.add("answers over time");
        await show("models");
        const row = page.getByRole("table", { name: "Models of counted" }).getByRole("row").filter({ hasText: model });
        const use = (await row.getByRole("cell").nth(3).textContent()) ?? "";
        all.same(
          "sample of a model's speed",
          /of (\d+) tokens/.exec(use)?.[1] ?? use,
          String(sumOf(sent.map(({ completion }) => completion))),
        );
        state.does = "hold";
        await compareWork(scene, opened, all, state);
        await compareMemory(scene, opened, all);
        say(`compared ${all.kinds.size} figures: ${[...all.kinds].join(", ")}`);
        assert.ok(all.kinds.size >= leastFigures, `only ${all.kinds.size} figures`);
      });
    } finally {
      await world.ollm("config", "unset", "providers.openai");
      await server.close();
    }
  },
];

/** What an engine says of its memory, and how often it loaded. */
async function compareMemory({ world }: Scene, { page, show }: Opened, figures: Figures): Promise<void> {
  const name = "echo:latest";
  const loads = () => world.ollama.loads.filter((load) => load.name === name).length;
  const row = page.getByRole("table", { name: "Models over time" }).getByRole("row").filter({ hasText: name });
  const shownLoads = async () =>
    numberIn((await row.count()) === 0 ? "0" : await row.locator("[data-label=Loads]").textContent());
  await show("decisions");
  const [before, shownBefore] = [loads(), await shownLoads()];
  await show("models");
  const [load, unload] = ["Load", "Unload"].map((verb) =>
    page.getByRole("button", { name: `${verb} ${name}`, exact: true }),
  );
  assert.ok(load && unload);
  await load.or(unload).waitFor();
  for (let time = 0; time < 2; time += 1) {
    // An earlier check may have loaded it.
    if (await unload.isVisible()) await unload.click();
    await load.click();
    await unload.waitFor();
  }
  const answer = await fetch(`${world.ollama.url}/api/ps`);
  const { models } = (await answer.json()) as { models: readonly { readonly name: string; readonly size: number }[] };
  const bytes = models.find((each) => each.name === name)?.size ?? 0;
  const cell = page
    .getByRole("row")
    .filter({ hasText: name })
    .getByText(/in use$/);
  figures.same("memory of a model, in MB", numberIn(await cell.textContent()), Math.round(bytes / 1e5) / 10);
  await show("decisions");
  await row.waitFor();
  figures.same("loads of a model", (await shownLoads()) - shownBefore, loads() - before);
}

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

export const countedChecks: readonly Check[] = [compared];
export const longChecks: readonly Check[] = [unbroken];
