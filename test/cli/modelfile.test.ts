import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseModelfile } from "../../src/cli/commands/modelfile.ts";
import type { DaemonHome } from "../support/daemon-home.ts";
import { writeTinyLora } from "../support/tiny-lora.ts";
import { writeTinyGguf } from "../support/tiny-gguf.ts";
import { makeShellHome, runHere } from "./terminal/built-shell.ts";

const from = "FROM base";

it.each([
  ["keywords in any case", "from base\nSystem Be brief.", { system: "Be brief." }],
  ["a comment is a line, not the end of one", `# x\n  # y\n${from}\nSYSTEM a # b`, { system: "a # b" }],
  ["Windows lines and a byte order mark", `\uFEFF${from}\r\nSYSTEM Hi\r\n`, { system: "Hi" }],
  ["marks around a value", `${from}\nSYSTEM "Be brief."`, { system: "Be brief." }],
  ["lines in marks", `${from}\nSYSTEM "Be\nbrief."\nADAPTER a.gguf`, { system: "Be\nbrief.", adapter: "a.gguf" }],
  ["lines in triple marks", `${from}\nSYSTEM """\nSay "so".\n\n# kept\n"""`, { system: '\nSay "so".\n\n# kept\n' }],
  ["a template", `${from}\nTEMPLATE """{{ .Prompt }}"""`, { template: "{{ .Prompt }}" }],
  [
    "several stops, and the last of other values",
    `${from}\nPARAMETER stop "<|a|>"\nparameter stop b c\nPARAMETER temperature 1\nPARAMETER temperature 0.2`,
    { parameters: { stop: ["<|a|>", "b c"], temperature: "0.2" } },
  ],
  ["tabs", "FROM\tbase\n\tPARAMETER\tnum_ctx\t4096", { parameters: { num_ctx: "4096" } }],
  ["the last system prompt, also an empty one", `${from}\nSYSTEM a\nSYSTEM ""`, { system: "" }],
  ["what has no effect is said", `${from}\nLICENSE """MIT\nand more"""`, { notes: ["M:2: LICENSE is left out"] }],
])("reads %s", (_what, text, expected) => {
  expect(parseModelfile(text, "M")).toEqual({ from: "base", parameters: {}, notes: [], ...expected });
});

it.each([
  ["SYSTEM Hi", "M has no FROM", "FROM smollm2:135m"],
  [`${from}\nFROM other`, "M:2 has another FROM", ""],
  [`${from}\nADAPTER a\nADAPTER b`, "M:3 has another ADAPTER", ""],
  [`${from}\n\nSYTEM Hi`, "M:3 begins with SYTEM, which is no keyword", "did you mean SYSTEM?"],
  ["FROM: base", "M:1 begins with FROM:, which is no keyword", "did you mean FROM?"],
  [`${from}\nzzz`, "M:2 begins with zzz, which is no keyword", "the keywords are FROM, SYSTEM"],
  [`${from}\nMESSAGE user Hi`, "M:2 has MESSAGE, which is not supported", "put the examples into SYSTEM"],
  [`${from}\nPARSER x`, "M:2 has PARSER, which is not supported", "leave it out"],
  [`${from}\nSYSTEM """Hi\nthere`, "M:2 has a value of SYSTEM whose quotation mark is not closed", ""],
  [`${from}\nPARAMETER`, "M:2 needs a name and a value", ""],
  [`${from}\nPARAMETER stop`, "M:2 has no value for stop", ""],
  ["FROM", "M:1 has no value for FROM", ""],
])("refuses %j with the line", (text, message, next) => {
  let found: unknown;
  try {
    parseModelfile(text, "M");
  } catch (error) {
    found = error;
  }
  expect(found).toMatchObject({
    message: expect.stringContaining(message),
    next: [{ text: expect.stringContaining(next) }],
  });
});

let home: DaemonHome;
beforeAll(async () => {
  home = await makeShellHome();
});
afterAll(() => home.close());

const ollm = (...words: readonly string[]) => runHere(home, words);
const created = () => home.ollama.requests.filter((request) => request.path === "/api/create").map(({ body }) => body);

it("gives Ollama exactly what the file says, with paths beside it, and asks before it replaces a model", async () => {
  const folder = path.join(home.folder, "mine");
  await mkdir(folder);
  await writeTinyLora(path.join(folder, "lora.gguf"));
  const text = `FROM smollm2:135m\nSYSTEM """You\nrhyme."""\nTEMPLATE "{{ .Prompt }}"\nPARAMETER stop END\nPARAMETER stop "<|x|>"\nPARAMETER temperature 0.2\nADAPTER ./lora.gguf\nLICENSE MIT`;
  await writeFile(path.join(folder, "Modelfile"), text);
  const made = await ollm("create", "poet", "-f", "mine/Modelfile");
  expect(made).toMatchObject({ code: 0, stderr: "mine/Modelfile:9: LICENSE is left out\n" });
  expect(made.stdout).toContain("Created poet:latest (ollama, ");
  expect(created()).toEqual([
    {
      model: "poet:latest",
      from: "smollm2:135m",
      system: "You\nrhyme.",
      template: "{{ .Prompt }}",
      parameters: { stop: ["END", "<|x|>"], temperature: 0.2 },
      adapters: { "adapter.gguf": expect.stringMatching(/^sha256:/) },
      stream: true,
    },
  ]);
  expect(await ollm("create", "poet", "-f", "mine/Modelfile")).toMatchObject({ code: 2 });
  expect(await ollm("create", "poet", "-f", "mine/Modelfile", "--yes", "--json")).toMatchObject({ code: 0 });
  expect(created()).toHaveLength(2);
});

it("imports a GGUF file that FROM names, as the base of the new name", async () => {
  await writeTinyGguf(path.join(home.folder, "tiny.gguf"));
  await writeFile(path.join(home.folder, "Tiny"), "FROM tiny.gguf\nSYSTEM Hi");
  const made = await ollm("create", "own:1b", "-f", "Tiny");
  expect(made).toMatchObject({ code: 0, stdout: expect.stringContaining("Created own:1b (ollama, ") });
  expect(made.stderr).toContain("tiny.gguf is own-base:1b now, from which own:1b is created");
  expect(created().slice(-2)).toMatchObject([
    { model: "own-base:1b", files: { "model.gguf": expect.any(String) } },
    { model: "own:1b", from: "own-base:1b", system: "Hi" },
  ]);
});

it("names what it can't use, before anything is asked of an engine", async () => {
  const before = created().length;
  await mkdir(path.join(home.folder, "weights"), { recursive: true });
  await writeFile(path.join(home.folder, "Wrong"), "FROM ./weights");
  await writeFile(path.join(home.folder, "Typo"), "FROM smollm2:135m\nPARAMTER stop x");
  for (const [words, said] of [
    [["-f", "Wrong"], "./weights is a folder, and FROM needs a model or a GGUF file"],
    [["-f", "Typo"], "Typo:2 begins with PARAMTER, which is no keyword\n  Did you mean PARAMETER?"],
    [["-f", "None"], "None was not found"],
    [["-f", "Typo", "--from", "smollm2:135m"], "-f takes all from the Modelfile"],
    [[], "ollm create needs a model, or a file that names one\n  Add --from MODEL or -f Modelfile."],
  ] as const) {
    expect(await ollm("create", "x", ...words)).toMatchObject({ code: 2, stderr: expect.stringContaining(said) });
  }
  expect(created()).toHaveLength(before);
});
