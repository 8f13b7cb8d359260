import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { watchedPage } from "./chromium.ts";
import { assertHarmless, dashboardLink, settled, withDashboard } from "./dashboard.ts";
import { type Check, daemonPid, otherModel, realModel } from "./world.ts";

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** A request with headers that a page can't set, such as those of a browser under another name. At most 64 KB are read. */
function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  body?: unknown,
  method = body === undefined ? "GET" : "POST",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false, timeout: 5_000 }, (response) => {
      let text = "";
      const end = () => resolve({ status: response.statusCode ?? 0, body: text });
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
        // A stream would go on.
        if (text.length > 0 && response.headers["content-type"]?.includes("event-stream") === true) sent.destroy();
      });
      response.once("close", end);
    });
    sent.once("error", reject).once("timeout", () => sent.destroy(new Error(`${url} sent nothing`)));
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const json = { "content-type": "application/json" };

const link: Check = [
  "session: a link works once, and leaves nothing in the address or in cookies",
  async ({ world, browser }) => {
    const url = await dashboardLink(world);
    const { origin } = new URL(url);
    const context = await browser.newContext();
    try {
      const first = await watchedPage(context, origin);
      await first.page.goto(url);
      await first.page.getByRole("heading", { name: "Overview" }).waitFor();
      assert.equal(new URL(first.page.url()).hash.includes(new URL(url).hash.slice(1)), false, first.page.url());
      assert.deepEqual(await context.cookies(), []);
      await first.page.reload();
      await first.page.getByRole("heading", { name: "Overview" }).waitFor();
      assertHarmless(first);
      const second = await watchedPage(context, origin);
      await second.page.goto(url);
      await second.page.getByText("ollm dashboard", { exact: true }).waitFor();
      assert.equal(await second.page.getByRole("heading", { name: "Overview" }).count(), 0);
    } finally {
      await context.close();
    }
  },
];

const locked: Check = [
  "session: without its token nothing is served but the empty page",
  async ({ world }) => {
    const url = await dashboardLink(world);
    const { origin, hash } = new URL(url);
    const page = await ask(`${origin}/dashboard`, {});
    assert.equal(page.status, 200);
    for (const name of [otherModel, world.home]) assert.equal(page.body.includes(name), false, name);
    const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "system_status", arguments: {} } };
    const code = { code: hash.slice(1) };
    const refused: Readonly<Record<string, Answer>> = {
      "stream without a token": await ask(`${origin}/dashboard/events`, {}),
      "stream with a wrong token": await ask(`${origin}/dashboard/events`, { authorization: "Bearer wrong" }),
      "stream with the link's code": await ask(`${origin}/dashboard/events`, { authorization: `Bearer ${code.code}` }),
      "stream with the token in the address": await ask(`${origin}/dashboard/events?token=wrong`, {}),
      "call without a token": await ask(`${origin}/mcp`, json, call),
      "wrong code": await ask(`${origin}/dashboard/session`, json, { code: "A".repeat(43) }),
      "session for another site's page": await ask(
        `${origin}/dashboard/session`,
        { ...json, origin: "http://evil.example", "sec-fetch-site": "cross-site" },
        code,
      ),
      "page under another name": await ask(`${origin}/dashboard`, { host: "evil.example" }),
      "session under another name": await ask(`${origin}/dashboard/session`, { ...json, host: "evil.example" }, code),
    };
    for (const [what, { status, body }] of Object.entries(refused)) {
      assert.ok([400, 401, 403].includes(status), `${what}: ${status} ${body}`);
      for (const name of [realModel, "availableBytes", "models"]) assert.equal(body.includes(name), false, what);
    }
    // None of that has used the link up, and what it gives opens the stream.
    const begun = await ask(`${origin}/dashboard/session`, json, code);
    assert.equal(begun.status, 200, begun.body);
    const { token } = JSON.parse(begun.body) as { readonly token: string };
    const stream = await ask(`${origin}/dashboard/events`, { authorization: `Bearer ${token}` });
    assert.match(stream.body, /^event: |^data: /m);
    const home = await readFile(join(world.home, "run", "http-token"), "utf8");
    assert.equal(token.includes(home.trim()), false, "the page has the home's own token");
  },
];

const restart: Check = [
  "session: the page outlives a killed daemon, and is signed in to the next one",
  (scene) =>
    withDashboard(scene, async ({ page, show }) => {
      const { world } = scene;
      await page.getByText("Connected", { exact: true }).waitFor();
      const before = await daemonPid(world);
      process.kill(before, "SIGKILL");
      await page.getByText("The daemon has not answered").waitFor();
      await world.ollm("status");
      assert.notEqual(await daemonPid(world), before);
      await page.getByText("Connected", { exact: true }).waitFor({ timeout: 30_000 });
      await show("models");
      await page.getByRole("row", { name: realModel }).first().waitFor();
      await page.reload();
      await page.getByRole("heading", { name: "Models", exact: true }).waitFor();
      await settled(page);
    }),
];

const tabs: Check = [
  "session: eight tabs of one browser, which has six connections, are all served",
  (scene) =>
    withDashboard(scene, async ({ context, origin, page: first }) => {
      // Headless browsers take every tab as seen.
      const show = (page: Page, isShown: boolean) =>
        page.evaluate((hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }, !isShown);
      const connected = (page: Page) => page.getByText("Connected", { exact: true }).waitFor();
      const token = await first.evaluate(() => sessionStorage.getItem("ollm-session") ?? "");
      await context.addInitScript((value) => sessionStorage.setItem("ollm-session", value), token);
      let seen = first;
      for (let count = 2; count <= 8; count++) {
        await connected(seen);
        await show(seen, false);
        seen = await context.newPage();
        await seen.goto(`${origin}/dashboard`);
      }
      await connected(seen);
      await show(seen, false);
      await show(first, true);
      await connected(first);
      await first.evaluate(() => (location.hash = "#/models"));
      await first.getByRole("row", { name: realModel }).first().waitFor();
    }),
];

export const sessionChecks: readonly Check[] = [link, locked, restart, tabs];
