import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { builtCommand, initialize } from "../../support/stdio-client.ts";
import { call, startMachine, type Machine } from "./machine.ts";

let machine: Machine;
beforeEach(async () => {
  machine = await startMachine();
});
afterEach(() => machine.close());

describe("a client that never reads", () => {
  /** Both ways far more than pipes, sockets and our own limits hold together: 2.5 MB of requests, 15 MB of answers. */
  const requests = 600;
  const params = { _meta: { padding: "x".repeat(4_000) } };

  it("is not listened to any more after a while, while a neighbour is served, and loses nothing", async () => {
    const neighbour = await machine.client();
    const answer = { result: { structuredContent: { text: "The sky is blue." } } };
    // From here on the daemon knows its models: a first look under this load may take longer than anybody waits for it.
    neighbour.send(call(0, "route_and_generate", { prompt: "Hi" }));
    expect(await neighbour.next()).toMatchObject({ id: 0, ...answer });
    const deaf = spawn(process.execPath, [builtCommand], {
      env: machine.environment,
      stdio: ["pipe", "pipe", "ignore"],
    });
    try {
      deaf.stdin.on("error", () => undefined);
      deaf.stdin.write(`${JSON.stringify(initialize)}\n`);
      // Answers are made as fast as requests are read once the daemon has its settings: the first of them waits for these.
      deaf.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: "first", method: "tools/list" })}\n`);
      deaf.stdout.setEncoding("utf8");
      let greeted = "";
      while (greeted.split("\n").length < 3) {
        await once(deaf.stdout, "readable");
        greeted += String(deaf.stdout.read() ?? "");
      }
      const taken = { count: 0, atMs: performance.now() };
      for (let id = 1; id <= requests; id += 1) {
        deaf.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method: "tools/list", params })}\n`, () => {
          taken.count += 1;
          taken.atMs = performance.now();
        });
      }
      // It has stopped when it takes nothing for a while; were there no limit, it would take all.
      while (taken.count < requests && performance.now() - taken.atMs < 700) await delay(50);
      expect(taken.count).toBeLessThan(requests);
      neighbour.send(call(1, "route_and_generate", { prompt: "Hi" }));
      expect(await neighbour.next()).toMatchObject({ id: 1, ...answer });

      const answered = new Set<number>();
      let rest = "";
      for await (const chunk of deaf.stdout as AsyncIterable<string>) {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) answered.add((JSON.parse(line) as { id: number }).id);
        if (answered.size === requests) break;
      }
      expect(answered.size).toBe(requests);
    } finally {
      deaf.kill("SIGKILL");
    }
  });
});
