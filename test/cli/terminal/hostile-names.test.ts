import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import absent from "../../../src/cli/commands/absent.json" with { type: "json" };
import { createCommands } from "../../../src/cli/commands/index.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { runBuilt, runHere } from "./built-shell.ts";

/** CSI, OSC, a C1 CSI, bidirectional override, and a line that looks like one of ours. */
const nasty = "\u001B[2J\u001B]0;title\u0007\u009B8m\u202E\u2066\r\n✓ forged";
const model = `evil${nasty}:7b`;
const other = `second${nasty}:1b`;
const words = `words ${nasty} behind`;
/** Of several lines by its nature: an answer, a template. */
const body = words.replaceAll("✓ forged", "more");
const longFile = process.platform === "win32" ? "long.md" : `long${nasty}.md`;
const casesFile = longFile.replace(/md$/, "jsonl");
const folderName = process.platform === "win32" ? "folder" : `folder${nasty.replaceAll("\n", "\n\n")}`;

// oxlint-disable-next-line no-control-regex -- control characters are what this is about.
const steering = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

let home: DaemonHome;
let project: string;

beforeAll(async () => {
  const facts = { architecture: words, parameterSize: words, quantization: words };
  home = await makeDaemonHome(
    {
      OLLM_PROJECTS_DETECT: "true",
      OLLM_PROFILES: JSON.stringify({ mine: { models: ["plain:1b"], system: body } }),
    },
    {
      models: [
        { name: model, reply: body, thinking: body, capabilities: ["completion", "thinking"], ...facts },
        { name: other, reply: body, contextTokens: 2_048, ...facts },
      ],
      version: words,
    },
  );
  project = path.join(home.folder, folderName);
  await mkdir(path.join(project, ".ollm", "templates"), { recursive: true });
  await writeFile(path.join(project, "tsconfig.json"), "{}");
  await writeFile(path.join(project, ".ollm", "project.yaml"), `model: ${JSON.stringify(model)}\n`);
  const sections = Array.from(
    { length: 8 },
    (_, at) => `# ${at + 1} ${nasty}\n\n${`Words of ${words}\n`.repeat(30)}\n`,
  );
  await writeFile(path.join(project, longFile), sections.join(""));
  const asked = { name: words, prompt: words, expected: words };
  await writeFile(path.join(project, casesFile), JSON.stringify(asked));
  await mkdir(path.join(home.home, "templates"), { recursive: true });
  const template = { description: words, template: `Say ${body} {topic}`, system: body, model };
  await writeFile(path.join(home.home, "templates", "nasty.yaml"), JSON.stringify({ name: "nasty", ...template }));
  await writeFile(path.join(home.home, "templates", "broken.yaml"), JSON.stringify({ name: words }));
  await mkdir(path.join(home.home, "pipelines"), { recursive: true });
  const pipeline = { description: words, steps: [{ name: "say", prompt: `Say ${body}`, model: other }] };
  await writeFile(path.join(home.home, "pipelines", "nasty.yaml"), JSON.stringify(pipeline));
  await writeFile(path.join(home.home, "pipelines", "broken.yaml"), JSON.stringify({ steps: words }));
});

afterAll(() => home.close());

const built = (given: readonly string[], input = "") => runBuilt(home, given, input, { NO_COLOR: "1" }, project);
const here = (given: readonly string[]) => runHere(home, given, "", { NO_COLOR: "1" }, project);
/** In processes of their own: what they print passes the real streams, in columns, as an answer, as help and as an error. */
const inProcesses: ReadonlySet<string | undefined> = new Set(["models", "compare", "help", "search"]);

/** In an order in which each has something to show; `-` stands for JSON on top of it. */
const views: readonly (readonly string[])[] = [
  ["models", "--verbose"],
  ["show", model],
  ["load", model, "--dry-run"],
  ["load", model],
  ["pin", model],
  ["ps"],
  ["unpin", model],
  ["run", "--model", other, "--explain", "Hi"],
  ["run", "--dry-run", "Hi"],
  ["run", "--model", `near${nasty}:7b`, "Hi"],
  ["run", "--file", `missing${nasty}.txt`, "Hi"],
  ["run", "--model", other, "--file", longFile, "Summarise this"],
  ["run", "--model", other, "--file", longFile, "What is in section 3?"],
  ["compare", "Hi", model, other, "--max-tokens", "8"],
  ["eval", casesFile, "--models", model, other, "--max-tokens", "8"],
  ["eval"],
  ["eval", "show", `eval${nasty}`],
  ["eval", "rm", `eval${nasty}`],
  ["winners", "--pick", model],
  ["winners"],
  ["good"],
  ["bad", "--task", "code", "--model", model],
  ["profiles", "reset", "--model", model],
  ["create", `third${nasty}`, "--from", model],
  ["pull", `absent${nasty}:7b`],
  ["import", `missing${nasty}.gguf`, `imported${nasty}`],
  ["memory", "add", `key ${nasty}`, words],
  ["memory", "list"],
  ["memory", "search", "behind"],
  ["memory", "show", `key ${nasty}`],
  ["memory", "export"],
  ["memory", "import", `missing${nasty}.json`],
  ["memory", "forget", `key ${nasty}`],
  ["template", "create", `made${nasty}`, body],
  ["pipeline", "list"],
  ["pipeline", "show", "nasty"],
  ["pipeline", "run", "nasty"],
  ["pipeline", "run", words],
  ["pipeline", "new", words, words],
  ["export", "--training"],
  ["export", "--training", "--task", words],
  ["delegate", words, "--files", words],
  ["template", "list"],
  ["template", "show", "nasty"],
  ["template", "edit-path", "nasty"],
  ["template", "render", `nasty${nasty}`],
  ["profiles", "show", "mine"],
  ["profiles", "show", `code${nasty}`],
  ["project", "detect"],
  ["project", "show"],
  ["project", "use", `rust${nasty}`],
  ["project", "init"],
  ["project", "trust"],
  ["config", "set", "model.default", words],
  ["config", "show"],
  ["config", "get", `model${nasty}`],
  ["config", "validate", `missing${nasty}.yaml`],
  ["config", "unset", "model.default"],
  ["config", "path"],
  ["status"],
  ["doctor"],
  ["daemon", "status"],
  ["decisions"],
  ["stats"],
  ["stats", "--by", "model"],
  ["stats", "--money"],
  // Names what it would unload, and can't ask.
  ["stop"],
  ["stop", model],
  ["unload", model],
  ["rm", other],
  ["tidy"],
  ["search", words],
  ["help", words],
  ["logs"],
  ["setup", "--print", "--root", `missing${nasty}`],
];
/** Without `--json`, or without anything foreign to show in it. */
const withoutJson = new Set(["daemon logs", "setup"]);

const pathOf = (given: readonly string[]) =>
  ["memory", "template", "pipeline", "profiles", "project", "config", "daemon"].includes(given[0] ?? "") ||
  ["eval show", "eval rm"].includes(given.slice(0, 2).join(" "))
    ? given.slice(0, 2).join(" ")
    : (given[0] ?? "");

function leaves(command: Command): readonly string[] {
  return command.commands.flatMap((child) =>
    child.commands.length > 0 ? child.commands.map((leaf) => `${child.name()} ${leaf.name()}`) : [child.name()],
  );
}

describe("a view with hostile names", () => {
  it.each(views.map((given) => [pathOf(given), given] as const))(
    "steers no terminal and fakes no line: %s",
    async (_name, given) => {
      const hasJson = !withoutJson.has(pathOf(given));
      const ollm = inProcesses.has(given[0]) ? built : here;
      const [{ stdout, stderr }, asJson] = await Promise.all([
        ollm(given),
        ...(hasJson ? [ollm([...given, "--json"])] : []),
      ]);
      // An answer that is piped on is left as it is.
      const shown = stdout.replace(["run", "pipeline"].includes(given[0] ?? "") ? body : "", "") + stderr;
      expect(shown).not.toBe("");
      expect(shown).not.toMatch(steering);
      expect(shown).not.toMatch(/^✓ forged/m);
      if (asJson === undefined) return;
      expect(asJson.stdout + asJson.stderr).not.toMatch(steering);
      if (asJson.stdout !== "") JSON.parse(asJson.stdout);
    },
  );

  it("steers no terminal and fakes no line: chat", async () => {
    const lines = ["/model list", `/model ${model.replaceAll(/\s/g, "")}`, "/memory add a b", "/template list", "Hi"];
    const { stdout, stderr } = await built(["chat"], `${lines.join("\n")}\n`);
    expect(stderr).not.toMatch(steering);
    expect(stderr + stdout).not.toMatch(/^✓ forged/m);
    // An answer that is piped on is left as it is.
    expect(stdout.replaceAll(body, "")).not.toMatch(steering);
  });

  it("steers no terminal and fakes no line: daemon logs", async () => {
    const { stdout, stderr } = await built(["daemon", "logs"]);
    expect(stdout + stderr).not.toMatch(steering);
    expect(stdout).not.toMatch(/^✓ forged/m);
  });

  it("keeps the name whole in JSON", async () => {
    const { stdout } = await built(["models", "--json"]);
    const { models } = JSON.parse(stdout) as { models: { name: string }[] };
    expect(models.map(({ name }) => name)).toContain(model);
    expect(stdout).toContain(String.raw`\u009b8m\u202e\u2066`);
  });

  it("is tested for every command that shows foreign text", () => {
    const tried = new Set([...views.map(pathOf), "chat", "daemon logs"]);
    // They say what they do with processes, HTTP listeners, clients' files and tokens of our own, or start an editor.
    const own = [
      "serve",
      "dashboard",
      "token rotate",
      "daemon start",
      "daemon stop",
      "daemon restart",
      "uninstall",
      "agents install",
      "agents remove",
      "config edit",
    ];
    const constant = ["completion", "version", "launch", ...Object.keys(absent)];
    const all = leaves(createCommands(() => Promise.resolve()));
    expect(all.filter((name) => !tried.has(name) && ![...own, ...constant].includes(name))).toEqual([]);
  });
});
