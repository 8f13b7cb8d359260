import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { askOnce } from "../../../src/cli/commands/run.ts";
import {
  createTemplate,
  listTemplates,
  renderTemplate,
  showTemplate,
  templatePath,
} from "../../../src/cli/commands/template.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";

let home: DaemonHome;
beforeAll(async () => {
  home = await makeDaemonHome();
});
afterAll(() => home.close());

type Io = ReturnType<DaemonHome["io"]>;

/** What a command printed; `piped` stands on its stdin. */
async function ran(work: (io: Io) => Promise<number>, piped?: string) {
  const io = home.io();
  const code = await work(piped === undefined ? io : { ...io, readInput: async () => piped });
  return { code, out: io.out.join(""), err: io.err.join("") };
}

it("ollm template lists, shows, renders, saves and opens templates", async () => {
  const listed = await ran((io) => listTemplates("translate", {}, io));
  expect(listed.out).toMatch(
    /^NAME +VARIABLES +FROM +DESCRIPTION\ntranslate +text language tone\? +built-in +Translates a text\.\n$/,
  );
  const shown = await ran((io) => showTemplate("sql", {}, io));
  expect(shown.out).toContain("options: temperature 0.1, maxTokens 600\n");
  const missing = await ran((io) => renderTemplate("translate", { var: ["language=French"] }, io));
  expect(missing).toMatchObject({ code: expect.any(Number), out: "" });
  expect(missing.code).not.toBe(0);
  expect(missing.err).toContain("text");
  const piped = await ran((io) => renderTemplate("translate", { var: ["language=French"] }, io), "Hi {tone}\n");
  expect(piped).toMatchObject({ code: 0, out: expect.stringContaining("<text>\nHi {tone}\n") });
  const open = await ran((io) => renderTemplate("translate", {}, io), "Hi");
  expect(open).toMatchObject({ code: 2, err: expect.stringContaining("Template translate needs language.") });
  const answered = await ran((io) => renderTemplate("summarise", { var: ["text=x"], generate: true, json: true }, io));
  expect(JSON.parse(answered.out)).toMatchObject({ text: "The sky is blue.", model: "smollm2:135m" });

  const saved = await ran(
    (io) => createTemplate("haiku", undefined, { description: "Writes one." }, io),
    "About {topic}.",
  );
  const file = join(home.home, "templates", "haiku.yaml");
  expect(saved).toMatchObject({ code: 0, out: `Saved template haiku in ${file}\nVariables: topic\n` });
  const again = await ran((io) => createTemplate("haiku", "x", {}, io));
  expect(again).toMatchObject({ code: 1, err: expect.stringContaining("there is already a template haiku") });
  expect(again.err).toContain("\n  Choose another name, or add --overwrite.\n");
  const empty = await ran((io) => createTemplate("none", undefined, {}, io), "");
  expect(empty).toMatchObject({ code: 2, err: expect.stringContaining("the template has no text") });

  const copied = await ran((io) => templatePath("sql", {}, io));
  expect(copied).toMatchObject({ code: 0, out: `${join(home.home, "templates", "sql.yaml")}\n` });
  expect(await readFile(copied.out.trim(), "utf8")).toContain("temperature: 0.1");
  const own = await ran((io) => templatePath("haiku", { json: true }, io));
  expect(JSON.parse(own.out)).toEqual({ name: "haiku", file });
  const hidden = await ran((io) => listTemplates("sql", { json: true }, io));
  expect(JSON.parse(hidden.out)).toMatchObject({ templates: [{ name: "sql", source: "user", hides: "built-in" }] });
});

it("files fill a template in render and run, from any folder", async () => {
  const file = join(home.folder, "letter.txt");
  await writeFile(file, "Dear reader");
  const rendered = await ran((io) => renderTemplate("translate", { var: ["language=French"], file: [file] }, io));
  expect(rendered).toMatchObject({ code: 0, out: expect.stringContaining("<text>\nDear reader\n</text>") });
  const none = await ran((io) => renderTemplate("translate", { var: ["language=French"] }, io));
  expect(none).toMatchObject({
    code: 2,
    err: expect.stringContaining("with --var NAME=VALUE, a text also with --file"),
  });
  const answered = await ran((io) => askOnce([], { template: "summarise", file: [file] }, io));
  expect(answered.code).toBe(0);
  const body = home.ollama.requests.findLast(({ path }) => path === "/api/chat")?.body;
  expect(JSON.stringify(body)).toContain("<text>\\nDear reader\\n</text>");
  const missing = await ran((io) => renderTemplate("summarise", { file: [`${file}.none`] }, io));
  expect(missing).toMatchObject({ code: 2, err: expect.stringContaining("was not found") });
});

it("ollm template create refuses {{topic}}", async () => {
  const refused = await ran((io) => createTemplate("doubled", "About {{topic}}.", {}, io));
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining("is not a variable") });
});

it("ollm run takes what is piped in for the variable of its template that is left open", async () => {
  const asked = () => {
    const body = home.ollama.requests.findLast(({ path }) => path === "/api/chat")?.body;
    return JSON.stringify(body);
  };
  const piped = await ran((io) => askOnce([], { template: "commit-message" }, io), "+const x = 1;\n");
  expect(piped).toMatchObject({ code: 0, out: "The sky is blue.\n" });
  expect(asked()).toContain("<diff>\\n+const x = 1;\\n");
  const beside = await ran(
    (io) => askOnce(["smollm2:135m", "Be", "brief."], { template: "translate", var: ["language=French"] }, io),
    "Hi",
  );
  expect(beside.code).toBe(0);
  expect(asked()).toMatch(/<text>\\nHi\\n<\/text>.*Be brief\./);

  const whole = await ran((io) => askOnce([], { template: "sql", var: ["question=a", "schema=b"] }, io), "Behind it.");
  expect(whole.code).toBe(0);
  expect(asked()).toContain("Behind it.");
  const several = await ran((io) => askOnce([], { template: "sql" }, io), "Hi");
  expect(several).toMatchObject({ code: 2, err: expect.stringContaining("stdin could fill any of question, schema") });
  const named = await ran((io) => askOnce(["smollm2:135m"], { template: "summarise", var: ["text=x"] }, io));
  expect(named.code).toBe(0);
  expect(asked()).toContain('"model":"smollm2:135m"');
  expect(asked().split("smollm2:135m")).toHaveLength(2);
});
