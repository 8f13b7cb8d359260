import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { report } from "../../../src/cli/terminal/session.ts";
import { runCommand } from "./built-shell.ts";

let home: DaemonHome;
beforeAll(async () => {
  home = await makeDaemonHome();
});
afterAll(() => home.close());

type Io = ReturnType<DaemonHome["io"]>;

/** What a command printed; `piped` stands on its stdin. */
async function ran(work: (io: Io) => Promise<number>, piped?: string) {
  const io = home.io();
  const given = piped === undefined ? io : { ...io, readInput: async () => piped };
  const code = await work(given).catch((error: unknown) => report(error, io));
  return { code, out: io.out.join(""), err: io.err.join("") };
}

it("ollm template lists, shows, renders, saves and opens templates", async () => {
  const listed = await ran((io) => runCommand(io, "template", "list", "translate"));
  expect(listed.out).toMatch(
    /^NAME +VARIABLES +FROM +DESCRIPTION\ntranslate +text language tone\? +built-in +Translates a text\.\n$/,
  );
  const shown = await ran((io) => runCommand(io, "template", "show", "sql"));
  expect(shown.out).toContain("options: temperature 0.1, maxTokens 600\n");
  const missing = await ran((io) => runCommand(io, "template", "render", "translate", "--var", "language=French"));
  expect(missing).toMatchObject({ code: expect.any(Number), out: "" });
  expect(missing.code).not.toBe(0);
  expect(missing.err).toContain("text");
  const piped = await ran(
    (io) => runCommand(io, "template", "render", "translate", "--var", "language=French"),
    "Hi {tone}\n",
  );
  expect(piped).toMatchObject({ code: 0, out: expect.stringContaining("<text>\nHi {tone}\n") });
  const open = await ran((io) => runCommand(io, "template", "render", "translate"), "Hi");
  expect(open).toMatchObject({ code: 2, err: expect.stringContaining("Template translate needs language.") });
  const answered = await ran((io) =>
    runCommand(io, "template", "render", "summarise", "--var", "text=x", "--generate", "--json"),
  );
  expect(JSON.parse(answered.out)).toMatchObject({ text: "The sky is blue.", model: "smollm2:135m" });

  const saved = await ran(
    (io) => runCommand(io, "template", "create", "haiku", "--description", "Writes one."),
    "About {topic}.",
  );
  const file = join(home.home, "templates", "haiku.yaml");
  expect(saved).toMatchObject({ code: 0, out: `Saved template haiku in ${file}\nVariables: topic\n` });
  const again = await ran((io) => runCommand(io, "template", "create", "haiku", "x"));
  expect(again).toMatchObject({ code: 1, err: expect.stringContaining("there is already a template haiku") });
  expect(again.err).toContain("\n  Choose another name, or add --overwrite.\n");
  const empty = await ran((io) => runCommand(io, "template", "create", "none"), "");
  expect(empty).toMatchObject({ code: 2, err: expect.stringContaining("the template has no text") });

  const copied = await ran((io) => runCommand(io, "template", "edit-path", "sql"));
  expect(copied).toMatchObject({ code: 0, out: `${join(home.home, "templates", "sql.yaml")}\n` });
  expect(await readFile(copied.out.trim(), "utf8")).toContain("temperature: 0.1");
  const own = await ran((io) => runCommand(io, "template", "edit-path", "haiku", "--json"));
  expect(JSON.parse(own.out)).toEqual({ name: "haiku", file });
  const hidden = await ran((io) => runCommand(io, "template", "list", "sql", "--json"));
  expect(JSON.parse(hidden.out)).toMatchObject({ templates: [{ name: "sql", source: "user", hides: "built-in" }] });
});

it("files fill a template in render and run, from any folder", async () => {
  const file = join(home.folder, "letter.txt");
  await writeFile(file, "Dear reader");
  const rendered = await ran((io) =>
    runCommand(io, "template", "render", "translate", "--var", "language=French", "--file", file),
  );
  expect(rendered).toMatchObject({ code: 0, out: expect.stringContaining("<text>\nDear reader\n</text>") });
  const none = await ran((io) => runCommand(io, "template", "render", "translate", "--var", "language=French"));
  expect(none).toMatchObject({
    code: 2,
    err: expect.stringContaining("with --var NAME=VALUE, a text also with --file"),
  });
  const answered = await ran((io) => runCommand(io, "run", "--template", "summarise", "--file", file));
  expect(answered.code).toBe(0);
  const body = home.ollama.requests.findLast(({ path }) => path === "/api/chat")?.body;
  expect(JSON.stringify(body)).toContain("<text>\\nDear reader\\n</text>");
  const missing = await ran((io) => runCommand(io, "template", "render", "summarise", "--file", `${file}.none`));
  expect(missing).toMatchObject({ code: 2, err: expect.stringContaining("was not found") });
});

it("ollm template create refuses {{topic}}", async () => {
  const refused = await ran((io) => runCommand(io, "template", "create", "doubled", "About {{topic}}."));
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining("is not a variable") });
});

it("ollm run takes what is piped in for the variable of its template that is left open", async () => {
  const asked = () => {
    const body = home.ollama.requests.findLast(({ path }) => path === "/api/chat")?.body;
    return JSON.stringify(body);
  };
  const piped = await ran((io) => runCommand(io, "run", "--template", "commit-message"), "+const x = 1;\n");
  expect(piped).toMatchObject({ code: 0, out: "The sky is blue.\n" });
  expect(asked()).toContain("<diff>\\n+const x = 1;\\n");
  const beside = await ran(
    (io) =>
      runCommand(io, "run", "--template", "translate", "--var", "language=French", "smollm2:135m", "Be", "brief."),
    "Hi",
  );
  expect(beside.code).toBe(0);
  expect(asked()).toMatch(/<text>\\nHi\\n<\/text>.*Be brief\./);

  const whole = await ran(
    (io) => runCommand(io, "run", "--template", "sql", "--var", "question=a", "--var", "schema=b"),
    "Behind it.",
  );
  expect(whole.code).toBe(0);
  expect(asked()).toContain("Behind it.");
  const several = await ran((io) => runCommand(io, "run", "--template", "sql"), "Hi");
  expect(several).toMatchObject({ code: 2, err: expect.stringContaining("stdin could fill any of question, schema") });
  const named = await ran((io) => runCommand(io, "run", "--template", "summarise", "--var", "text=x", "smollm2:135m"));
  expect(named.code).toBe(0);
  expect(asked()).toContain('"model":"smollm2:135m"');
  expect(asked().split("smollm2:135m")).toHaveLength(2);
});
