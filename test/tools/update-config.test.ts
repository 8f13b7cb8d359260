import { readFile, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Era } from "../support/memory-client.ts";
import { useSettingsHome } from "../support/settings-home.ts";

const eras: readonly Era[] = ["legacy", "modern"];

describe("update_config", () => {
  const { file, connect, text } = useSettingsHome();

  it("says of settings where each comes from", async () => {
    await writeFile(file(), "# mine\noptions:\n  maxTokens: 100\n");
    const { call } = await connect({}, { OLLM_QUEUE_MAX_WAITING: "5" });
    expect(text(await call("update_config", { action: "show", path: "options" }))).toBe(
      [
        "options.temperature: 0.7 (default)",
        "options.topP: unset (default)",
        "options.maxTokens: 100 (HOME/config.yaml:3)",
      ].join("\n"),
    );
    expect(text(await call("update_config", { action: "show", path: "queue" }))).toBe(
      ["queue.maxWaiting: 5 (OLLM_QUEUE_MAX_WAITING)", "queue.maxWaitMs: unset (default)"].join("\n"),
    );
  });

  it("changes one line of the file, in force at once", async () => {
    await writeFile(file(), "# mine\noptions:\n  maxTokens: 100 # few\n");
    const { call } = await connect();
    const set = await call("update_config", { action: "set", path: "options.maxTokens", value: 200 });
    expect(set.structuredContent).toEqual({
      settings: [{ path: "options.maxTokens", value: 200, source: `${file()}:3`, scope: "request" }],
    });
    expect(await readFile(file(), "utf8")).toBe("# mine\noptions:\n  maxTokens: 200 # few\n");
    expect(text(await call("update_config", { action: "show", path: "options.maxTokens" }))).toContain("200");
    const unset = await call("update_config", { action: "unset", path: "options.maxTokens" });
    expect(text(unset)).toBe("options.maxTokens: 4096 (default)");
  });

  it("takes settings of models by pattern", async () => {
    const { call } = await connect();
    await call("update_config", { action: "set", path: 'models["qwen*"].contextTokens', value: 8192 });
    expect(text(await call("update_config", { action: "show", path: "models" }))).toBe(
      'models["qwen*"].contextTokens: 8192 (HOME/config.yaml:3)',
    );
  });

  it.each([
    [{ action: "set", path: "optoins.topP", value: 1 }, "did you mean options.topP?"],
    [{ action: "set", path: "options.topP", value: 7 }, "options.topP is 7; allowed: number above 0 to 1"],
    [{ action: "set", path: "options", value: { topP: 1 } }, "options is a section"],
    [{ action: "set", path: 'models["__proto__"].keepAlive', value: 1 }, "is not a setting"],
    [{ action: "set", path: "options.topP" }, "needs a value"],
    [{ action: "unset" }, "needs a path"],
  ])("refuses %j and writes nothing", async (input, message) => {
    const { call } = await connect();
    const result = await call("update_config", input);
    expect(result.isError).toBe(true);
    expect(text(result)).toContain(message);
    await expect(readFile(file())).rejects.toThrow("ENOENT");
  });

  it("puts the file back when what it says can't be obeyed", async () => {
    await writeFile(file(), "# mine\n");
    const { call } = await connect({ elicit: () => ({ action: "accept", content: { confirm: true } }) });
    const input = { action: "set", path: "providers.ollama.host", value: "http://a:b@c:1" };
    const result = await call("update_config", input);
    expect(result.isError).toBe(true);
    expect(await readFile(file(), "utf8")).toBe("# mine\n");
    expect(text(await call("update_config", { action: "show", path: "providers.ollama.host" }))).toContain("127.0.0.1");
  });

  it.each(["providers", "providers.ollama", "providers.ollama.host", "providers.llamaCpp.enabled"])(
    "nor is %s taken out",
    async (path) => {
      const { call } = await connect();
      const result = await call("update_config", { action: "unset", path });
      expect(text(result)).toContain(
        `Only the user can decide this.\nAsk the user to run \`ollm config unset '${path}'`,
      );
    },
  );

  it.each(["providers.ollama.options.numCtx", "providers.llamaCpp.threads"])(
    "%s decides nothing of that, and is set",
    async (path) => {
      const { call } = await connect();
      expect(text(await call("update_config", { action: "set", path, value: 1024 }))).toContain(`${path}: 1024`);
    },
  );

  it("takes a section out, and tells no single value of it", async () => {
    await writeFile(file(), "options: {temperature: 0.1, topP: 0.5}\n");
    const { call } = await connect();
    expect(text(await call("update_config", { action: "unset", path: "options" }))).toBe("options: unset (default)");
    expect(text(await call("update_config", { action: "show", path: "options.temperature" }))).toContain("0.7");
  });

  it.each(eras)("asks before it opens anything (%s)", async (era) => {
    const { call, questions } = await connect({
      era,
      elicit: () => ({ action: "accept", content: { confirm: true } }),
    });
    await call("update_config", { action: "set", path: "files.roots", value: ["/notes"] });
    expect(questions).toEqual([
      'Set files.roots to ["/notes"]? An assistant requests it, and it decides which folders\' files assistants may read and write.',
    ]);
    expect(await readFile(file(), "utf8")).toBe("files:\n  roots: [/notes]\n");
  });

  it("changes nothing when the answer is no", async () => {
    const { call } = await connect({ elicit: () => ({ action: "decline" }) });
    const result = await call("update_config", { action: "set", path: "privacy", value: "allow_remote" });
    expect(result.isError).toBe(true);
    await expect(readFile(file())).rejects.toThrow("ENOENT");
  });

  it("loses none of many changes at once", async () => {
    await writeFile(file(), "# mine\n");
    const { call } = await connect();
    const names = Array.from({ length: 20 }, (_each, index) => `model-${index}`);
    await Promise.all(
      names.map((name) => call("update_config", { action: "set", path: `models["${name}"].keepAlive`, value: 5 })),
    );
    const shown = await call("update_config", { action: "show", path: "models" });
    expect((shown.structuredContent as { settings: unknown[] }).settings).toHaveLength(20);
  });

  it("ollm://settings has all that a form needs: kind, choices, bounds, default, variable", async () => {
    await writeFile(
      file(),
      'providers:\n  openai:\n    - {id: kimi, kind: cloud, baseUrl: "https://kimi.example/v1"}\n',
    );
    const { client } = await connect({}, { OLLM_QUEUE_MAX_WAITING: "5" });
    const { contents } = await client.readResource({ uri: "ollm://settings" });
    const [content] = contents;
    const { settings } = JSON.parse(content !== undefined && "text" in content ? content.text : "") as {
      settings: readonly { path: string; [key: string]: unknown }[];
    };
    const found = (path: string) => settings.find((each) => each.path === path);
    expect(found("queue.maxWaiting")).toEqual({
      path: "queue.maxWaiting",
      value: 5,
      source: "OLLM_QUEUE_MAX_WAITING",
      scope: "daemon",
      kind: "number",
      description: "Maximum requests waiting for one model.",
      allowed: "whole number from 1",
      default: 64,
      variable: "OLLM_QUEUE_MAX_WAITING",
    });
    expect(found("privacy")).toMatchObject({ kind: "text", choices: ["local_only", "allow_remote"] });
    expect(found("model.keepAlive.models")).toMatchObject({ kind: "list", value: [] });
    expect(found("model.routing.enabled")).toMatchObject({ kind: "boolean", default: true });
    expect(found("models")).toMatchObject({ kind: "json", value: {} });
    expect(found("providers.openai[0].baseUrl")).toMatchObject({
      value: "https://kimi.example/v1",
      source: `${file()}:3`,
      kind: "text",
    });
    expect(settings.every(({ description, allowed }) => description !== undefined && allowed !== "")).toBe(true);
  });
});
