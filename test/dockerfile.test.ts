import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { createCommands } from "../src/cli/commands/index.ts";
import { settingPaths } from "../src/orchestrator/config/paths.ts";
import { settingsSchema } from "../src/orchestrator/config/schema.ts";
import { serverEnvironment } from "./support/stdio-client.ts";

// The image itself is not built here: that needs a registry. What can be wrong without one is looked at.
const repository = fileURLToPath(new URL("..", import.meta.url));
const run = promisify(execFile);

interface Instruction {
  readonly name: string;
  readonly value: string;
}

async function instructions(): Promise<readonly Instruction[]> {
  const text = await readFile(path.join(repository, "Dockerfile"), "utf8");
  return text
    .replaceAll(/^#.*\n/gm, "")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, name, value] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
      if (name === undefined || value === undefined) throw new Error(`not an instruction: ${line}`);
      return { name, value };
    });
}

/** Of the last stage, which is the image. */
async function image() {
  const all = await instructions();
  const start = all.findLastIndex(({ name }) => name === "FROM");
  const own = all.slice(start);
  return { own, of: (name: string) => own.filter((each) => each.name === name).map(({ value }) => value) };
}

describe("the Dockerfile", () => {
  it("runs as a user without rights, from before the volume is declared", async () => {
    const { own, of } = await image();
    expect(of("USER")).toEqual(["node"]);
    const names = own.map(({ name }) => name);
    expect(names.indexOf("USER")).toBeGreaterThan(names.lastIndexOf("RUN"));
    expect(of("RUN")).toEqual(["mkdir /data && chown node:node /data && chmod 700 /data"]);
  });

  it("serves HTTP at the port it exposes, with a command line that the program takes", async () => {
    const { of } = await image();
    expect(of("EXPOSE")).toEqual(["7411"]);
    const [command = "[]"] = of("CMD");
    const words = JSON.parse(command) as string[];
    expect(words).toEqual(["serve", "--bind", "0.0.0.0", "--port", "7411"]);
    let didRun = false;
    const program = createCommands(() => {
      didRun = true;
      return Promise.resolve();
    });
    await program.parseAsync(words, { from: "user" });
    expect(didRun).toBe(true);
    expect(JSON.parse(of("ENTRYPOINT")[0] ?? "[]")).toEqual(["node", "/app/dist/cli.mjs"]);
  });

  it("keeps home and token in the volume, and sets only variables that there are", async () => {
    const { of } = await image();
    expect(of("VOLUME")).toEqual(["/data"]);
    const variables = Object.fromEntries(of("ENV").flatMap((line) => line.split(" ").map((pair) => pair.split("="))));
    expect(variables).toMatchObject({ OLLM_HOME: "/data", OLLM_DAEMON_IDLE_TIMEOUT: "-1" });
    const known = [...settingPaths(settingsSchema).map(({ environmentName }) => environmentName), "OLLM_HOME"];
    for (const name of Object.keys(variables).filter((each) => each.startsWith("OLLM_"))) expect(known).toContain(name);
  });

  it("copies what is there, and .dockerignore lets the build see it", async () => {
    const all = await instructions();
    const sources = all
      .filter(({ name, value }) => name === "COPY" && !value.startsWith("--from"))
      .flatMap(({ value }) => value.split(" ").slice(0, -1));
    for (const source of sources) expect([source, existsSync(path.join(repository, source))]).toEqual([source, true]);
    const allowed = (await readFile(path.join(repository, ".dockerignore"), "utf8"))
      .split("\n")
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1));
    for (const name of [...sources.filter((source) => source !== "."), "src", "scripts", "engine-lock", "LICENSE"]) {
      expect(allowed).toContain(name);
    }
  });

  it("has a health check, which needs no token, and fails when nothing listens", async () => {
    const { of } = await image();
    const [check = ""] = of("HEALTHCHECK");
    const [, ...words] = JSON.parse(check.slice(check.indexOf("["))) as string[];
    const seen: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      seen.push(request.url);
      response.statusCode = seen.length === 1 ? 200 : 503;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const probe = () =>
      run(
        process.execPath,
        words.map((word) => word.replace(":7411/", `:${port}/`)),
        { env: serverEnvironment({}) },
      ).then(
        () => 0,
        (error: unknown) => (error as { code: number }).code,
      );
    try {
      expect(await probe()).toBe(0);
      expect(seen).toEqual(["/health"]);
      expect(await probe()).toBe(1);
    } finally {
      server.close().closeAllConnections();
    }
    expect(await probe()).toBe(1);
  });
});
