import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  configEdit,
  configGet,
  configPath,
  configSet,
  configShow,
  configValidate,
} from "../../src/cli/setup/config.ts";
import type { CommandIo } from "../../src/cli/terminal/io.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { readFolder } from "../../src/orchestrator/projects/folder-state.ts";
import { createTrustStore } from "../../src/orchestrator/projects/trust.ts";
import { createDocumentFiles } from "../../src/orchestrator/storage/document-files.ts";

let home: string;
let file: string;
let out: string;
let err: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "ollm-config-command-"));
  file = join(home, "config.yaml");
  out = "";
  err = "";
});
afterEach(() => rm(home, { recursive: true }));

function io(environment: Record<string, string> = {}, answers?: string[]): CommandIo {
  return {
    stdout: (text) => void (out += text.replaceAll(home, "HOME")),
    content: (text) => void (out += text.replaceAll(home, "HOME")),
    stderr: (text) => void (err += text.replaceAll(home, "HOME")),
    environment: { PATH: process.env["PATH"], OLLM_HOME: home, ...environment },
    workingDirectory: home,
    userHome: home,
    platform: process.platform,
    isTerminal: answers !== undefined,
    ask: (question) => {
      err += question;
      return Promise.resolve(answers?.shift() ?? "");
    },
    node: process.execPath,
    script: "/nonexistent",
  };
}

describe("ollm config", () => {
  it("shows where each value comes from", async () => {
    await writeFile(file, "options:\n  temperature: 0.1\n  maxTokens: 9\n");
    expect(await configShow("options", {}, io({ OLLM_MAX_TOKENS: "100" }))).toBe(0);
    expect(out).toBe(
      [
        "SETTING              VALUE  FROM",
        "options.temperature  0.1    HOME/config.yaml:2",
        "options.topP         unset  default",
        "options.maxTokens    100    OLLM_MAX_TOKENS",
        "",
      ].join("\n"),
    );
  });

  it.each([
    ["model.default", "nope", "other models answer", true],
    ["model.routing.overrides.code", "nope", "other models answer", true],
    ["model.default", "qwen3:4b", "", true],
    ["model.default", "nope", "", false],
  ] as const)("says what %s set to %s means while no such model is installed", async (name, model, note, isListed) => {
    if (isListed) await writeFile(join(home, "summary.json"), '{"models": [{"name": "qwen3:4b"}]}');
    await configSet(name, model, {}, io());
    const said = note === "" ? "" : `; ${model} was not installed when models were last listed: until it is, ${note}`;
    expect(out).toMatch(new RegExp(`^${name} is "${model}" \\(HOME/config.yaml:\\d\\)${said}\n$`));
  });

  it("shows no password", async () => {
    await writeFile(file, "store: {path: 'http://ann:secret@box.lan'}\n");
    await configShow(undefined, { json: true }, io());
    await configGet("store.path", {}, io());
    await configSet("store.path", "http://bob:secret@box.lan", {}, io());
    expect(out).toContain("http://***@box.lan");
    expect(out).not.toContain("secret");
    await expect(configSet("providers.ollama.host", "http://bob:secret@box.lan", {}, io())).rejects.toThrow(
      /is "http:\/\/\*\*\*@box\.lan": the Ollama address contains a user name or password/,
    );
    await writeFile(file, "providers: {ollama: {host: 'http://ann:secret@box.lan'}}\n");
    await expect(configValidate(undefined, {}, io())).rejects.toThrow('"http://***@box.lan"');
  });

  it("shows what a project says, where, and whether it holds", async () => {
    const project = await mkdtemp(join(tmpdir(), "ollm-config-project-"));
    try {
      await mkdir(join(project, ".ollm"));
      const text =
        "model: theirs:1b\nprofile: code\nsystemPrompt: Hi\ntools: {disabled: [compare]}\nprivacy: allow_remote\n";
      await writeFile(join(project, ".ollm", "project.yaml"), text);
      const place = await realpath(project);
      const there = { ...io(), workingDirectory: project, userHome: tmpdir() };
      expect(await configShow("model.routing.defaultProfile", {}, there)).toBe(0);
      expect(
        out
          .replaceAll(place, "PROJECT")
          .split("\n")
          .map((line) => line.split(/ {2,}/)),
      ).toEqual([
        ["SETTING", "VALUE", "FROM"],
        ["model.routing.defaultProfile", '"code"', "PROJECT/.ollm/project.yaml:2"],
        [""],
        ["PROJECT", "VALUE", "FROM", "IN EFFECT"],
        ["profile", '"code"', "PROJECT/.ollm/project.yaml:2", "yes"],
        [""],
      ]);
      expect(err.replaceAll(place, "PROJECT")).toContain(
        "PROJECT/.ollm/project.yaml:5: privacy can only be set by the user",
      );
      out = "";
      await configShow(
        undefined,
        { json: true },
        { ...there, environment: { ...there.environment, OLLM_MODEL_ROUTING_DEFAULT_PROFILE: "fast" } },
      );
      const shown = JSON.parse(out) as { readonly project: { readonly settings: readonly object[] } };
      const where = (line: number): string => `${join(place, ".ollm", "project.yaml")}:${line}`;
      const unapproved = { inForce: false, reason: "not approved (ollm project trust)" };
      expect(shown.project.settings).toEqual([
        {
          key: "profile",
          value: "code",
          source: where(2),
          inForce: false,
          reason: "overridden by OLLM_MODEL_ROUTING_DEFAULT_PROFILE",
        },
        { key: "model", value: "theirs:1b", source: where(1), ...unapproved },
        { key: "systemPrompt", value: "Hi", source: where(3), ...unapproved },
        { key: "tools.disabled", value: ["compare"], source: where(4), inForce: true },
      ]);
      expect(await configGet("model.default", {}, there)).toBe(1);

      const trust = createTrustStore({ log: createLog("silent", () => undefined), files: createDocumentFiles(home) });
      const { ollm } = await readFolder(place, []);
      await trust.approve(place, ollm.digest ?? "");
      await trust.close();
      out = "";
      expect(await configGet("model.default", {}, there)).toBe(0);
      expect(await configSet("model.default", "mine:1b", {}, there)).toBe(0);
      expect(out.replaceAll(place, "PROJECT")).toBe(
        'theirs:1b\nmodel.default is "mine:1b" (HOME/config.yaml:2); overridden here by PROJECT/.ollm/project.yaml:1: "theirs:1b"\n',
      );
    } finally {
      await rm(project, { recursive: true });
    }
  });

  it("shows the defaults of a broken file, and why they hold", async () => {
    await writeFile(file, "privacy: open\n");
    expect(await configShow("privacy", {}, io())).toBe(1);
    expect(out).toContain("local_only");
    expect(err).toContain('HOME/config.yaml:1: privacy is "open"');
    expect(await configValidate(undefined, { json: true }, io())).toBe(1);
    await expect(configValidate(undefined, {}, io())).rejects.toThrow('privacy is "open"');
    await expect(configGet("privacy", {}, io())).rejects.toThrow('privacy is "open"');
  });

  it("gets a value alone, and 1 where there is none", async () => {
    expect(await configGet("options.temperature", {}, io())).toBe(0);
    expect(await configGet("privacy", {}, io())).toBe(0);
    expect(out).toBe("0.7\nlocal_only\n");
    expect(await configGet("model.default", {}, io())).toBe(1);
    expect(err).toBe("ollm: model.default is not set\n");
  });

  it("names the source that overrides the new value", async () => {
    expect(await configSet("options.temperature", "0.2", {}, io({ OLLM_TEMPERATURE: "1" }))).toBe(0);
    expect(out).toBe("options.temperature is 0.2 (HOME/config.yaml:2); overridden here by OLLM_TEMPERATURE: 1\n");
  });

  it("unsets a setting and validates another file", async () => {
    await writeFile(file, "# mine\nprivacy: local_only\n");
    await configSet("privacy", undefined, {}, io());
    expect(await readFile(file, "utf8")).toBe("# mine\n");
    expect(await configValidate(undefined, {}, io())).toBe(0);
    await writeFile(join(home, "other.yaml"), "privcy: local_only\n");
    await expect(configValidate("other.yaml", {}, io())).rejects.toThrow("other.yaml:1: privcy is not a setting");
    await expect(configValidate("none.yaml", {}, io())).rejects.toThrow("does not exist");
  });

  it("prints the path", async () => {
    expect(await configPath({}, io())).toBe(0);
    expect(out).toBe("HOME/config.yaml\n");
  });
});

describe.skipIf(process.platform === "win32")("ollm config edit", () => {
  /** An editor that writes these texts, one after the other. */
  async function editor(...texts: string[]): Promise<string> {
    const script = join(home, "editor.mjs");
    const code = `import { readFileSync, writeFileSync, existsSync } from "node:fs";
const count = existsSync("${home}/count") ? Number(readFileSync("${home}/count")) : 0;
writeFileSync("${home}/count", String(count + 1));
const text = ${JSON.stringify(texts)}[count];
if (text !== undefined) writeFileSync(process.argv[2], text);
`;
    await writeFile(script, code);
    await chmod(script, 0o700);
    return `"${process.execPath}" "${script}"`;
  }

  it("puts in place what is right", async () => {
    expect(await configEdit(io({ EDITOR: await editor("# new\nprivacy: local_only\n") }))).toBe(0);
    expect(await readFile(file, "utf8")).toBe("# new\nprivacy: local_only\n");
  });

  it("takes an editor whose path has spaces, quoted and with words of its own or bare", async () => {
    const program = join(home, "my editor");
    await writeFile(program, '#!/bin/sh\nfor last; do :; done\nprintf "# $#\\n" >> "$last"\n');
    await chmod(program, 0o700);
    await writeFile(file, "# mine\n");
    expect(await configEdit(io({ EDITOR: `'${program}' --wait -n` }))).toBe(0);
    expect(await configEdit(io({ VISUAL: program }))).toBe(0);
    expect(await readFile(file, "utf8")).toBe("# mine\n# 3\n# 1\n");
  });

  it("asks whether to continue after an error", async () => {
    await writeFile(file, "# mine\n");
    const command = await editor("privacy: open\n", "privacy: allow_remote\n");
    expect(await configEdit(io({ VISUAL: command, EDITOR: "false" }, ["y"]))).toBe(0);
    expect(err).toContain('config.yaml:1: privacy is "open"');
    expect(await readFile(file, "utf8")).toBe("privacy: allow_remote\n");
  });

  it("keeps the old file and the draft without a terminal", async () => {
    await writeFile(file, "# mine\n");
    expect(await configEdit(io({ EDITOR: await editor("privacy: open\n") }))).toBe(1);
    expect(await readFile(file, "utf8")).toBe("# mine\n");
    const draft = /your draft is (.*)\n/.exec(err)?.[1] ?? "";
    expect(await readFile(draft, "utf8")).toBe("privacy: open\n");
    await rm(join(draft, ".."), { recursive: true });
  });

  it("changes nothing when nothing was changed, or the editor failed", async () => {
    await writeFile(file, "# mine\n");
    expect(await configEdit(io({ EDITOR: await editor() }))).toBe(0);
    expect(out).toBe("HOME/config.yaml is unchanged\n");
    await expect(configEdit(io({ EDITOR: "false" }))).rejects.toThrow('the editor "false" exited with 1');
    await expect(configEdit(io({ EDITOR: "/nonexistent/editor" }))).rejects.toThrow("nothing was changed");
  });
});
