import { createHash } from "node:crypto";
import fc from "fast-check";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Event } from "../../../src/orchestrator/api/events.ts";
import { CallerTemplates } from "../../../src/orchestrator/templates/templates.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import type { CallerContext, CallerProject } from "../../../src/orchestrator/api/types.ts";
import { eventually } from "../../support/eventually.ts";
import { plainSettings } from "../../support/caller-settings.ts";

let base = "";
let folder = "";
let project = "";
let changes: Event[] = [];
let logged: string[] = [];
let templates: CallerTemplates;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "templates-"));
  folder = join(base, "home", "templates");
  project = join(base, "project");
  await mkdir(folder, { recursive: true });
  await mkdir(join(project, ".ollm", "templates"), { recursive: true });
  changes = [];
  logged = [];
  const note = (line: string) => void logged.push(line);
  const log = { debug: note, info: note, warn: note };
  templates = new CallerTemplates({ folder, log, emit: (event) => void changes.push(event) });
});
afterEach(async () => {
  approved.length = 0;
  templates.close();
  await rm(base, { recursive: true, force: true });
});

function caller(
  trust?: boolean,
  templatesFolder: string | undefined = join(project, ".ollm", "templates"),
): CallerContext {
  const plain = { id: "1", client: "test", roots: [], settings: plainSettings, signal: new AbortController().signal };
  if (trust === undefined) return plain;
  const own: CallerProject = {
    folder: project,
    evidence: [],
    isTrusted: trust,
    settings: {},
    notes: [],
    ...(trust && { templates: approved }),
  };
  return { ...plain, project: templatesFolder === undefined ? own : { ...own, templatesFolder } };
}
const mine = (name: string, text: string) => writeFile(join(folder, name), text);
/** Writes and approves a template of the project. */
const ours = async (name: string, text: string) => {
  const file = join(project, ".ollm", "templates", name);
  await writeFile(file, text);
  approved.push({ file, sha256: createHash("sha256").update(text).digest("hex") });
};
/** The approved templates of the project. */
const approved: { file: string; sha256: string }[] = [];

describe("the template of a name", () => {
  beforeEach(async () => {
    await mine("translate.yaml", "template: mine");
    await mine("own.yaml", "template: mine");
    await ours("translate.yaml", "template: ours");
  });

  it("is the project's, which reports what it hides", async () => {
    expect(await templates.get(caller(true), "translate")).toMatchObject({
      template: "ours",
      source: "project",
      hides: "user",
      file: join(project, ".ollm", "templates", "translate.yaml"),
    });
  });

  it("is not the project's once its file has changed since the user approved it", async () => {
    await writeFile(join(project, ".ollm", "templates", "translate.yaml"), "template: theirs");
    expect(await templates.get(caller(true), "translate")).toMatchObject({ template: "mine" });
    const { problems } = await templates.list(caller(true));
    expect(problems).toEqual([
      expect.stringContaining("translate.yaml is not used: it has changed since the user approved it"),
    ]);
  });

  it("is the user's without a project, and in a project that waits for approval, which is reported", async () => {
    expect(await templates.get(caller(), "translate")).toMatchObject({ source: "user", hides: "built-in" });
    expect(await templates.get(caller(false), "translate")).toMatchObject({ template: "mine" });
    const { problems } = await templates.list(caller(false));
    expect(problems).toEqual([expect.stringMatching(/^the templates in .* are not used until the user approves/)]);
    expect((await templates.list(caller())).problems).toEqual([]);
    await expect(templates.get(caller(false), "theirs")).rejects.toMatchObject({
      message: expect.stringMatching(/^there is no template "theirs": the templates in .* are not used/),
      next: [{ step: "approveProject" }, { step: "chooseOneOf", names: expect.arrayContaining(["translate"]) }],
    });
  });

  it("is the built-in one again when the others are deleted", async () => {
    await templates.list(caller(true));
    await rm(folder, { recursive: true });
    await rm(join(project, ".ollm"), { recursive: true });
    const found = await templates.get(caller(true), "translate");
    expect(found.source).toBe("built-in");
    expect(found).not.toHaveProperty("file");
    await expect(templates.get(caller(), "own")).rejects.toThrow("no template");
  });
});

describe("a former name of a built-in template", () => {
  it("finds it, unless there is a template of that name; it is not listed", async () => {
    expect(await templates.get(caller(), "summarise")).toMatchObject({ name: "summary", source: "built-in" });
    expect(await templates.get(caller(), "code-review")).toMatchObject({ name: "review-diff" });
    const names = (await templates.list(caller())).templates.map(({ name }) => name);
    expect(names).toContain("summary");
    expect(names).not.toContain("summarise");
    await mine("summarise.yaml", "template: mine");
    expect(await templates.get(caller(), "summarise")).toMatchObject({ template: "mine", source: "user" });
  });
});

describe("an unknown template", () => {
  it("is rejected with the nearest names", async () => {
    await expect(templates.get(caller(), "tranlsate")).rejects.toMatchObject({
      message: 'there is no template "tranlsate"',
      next: [{ step: "didYouMean", names: expect.arrayContaining(["translate"]) }],
    });
    await expect(templates.get(caller(), "__proto__")).rejects.toThrow("no template");
  });

  it("is rejected with what is wrong with its file", async () => {
    await mine("mine.yaml", "template: x\nzzz: 1\n");
    await expect(templates.get(caller(), "mine")).rejects.toThrow(
      /there is no template "mine": .*mine\.yaml:2: unknown field zzz/,
    );
  });
});

describe("rendering", () => {
  it("fills text and system prompt, and expands no values", async () => {
    await mine("t.yaml", 'system: Be {tone:calm}.\ntemplate: \'{text} {{x}} {"a": {"b": {n}}}\'\n');
    const outcome = await templates.render(caller(), "t", { text: "{tone} {{", n: 1 });
    expect(outcome).toMatchObject({ rendered: { text: '{tone} {{ {x} {"a": {"b": 1}}', system: "Be calm." } });
  });

  it("reports missing variables, and rejects unknown ones", async () => {
    await mine("t.yaml", "template: '{text} {more}'\n");
    const outcome = await templates.render(caller(), "t", { text: "x" });
    expect(outcome).toMatchObject({ missing: [{ name: "more" }], template: { name: "t" } });
    await expect(templates.render(caller(), "t", { txt: "x" })).rejects.toThrow('did you mean "text"?');
  });
});

describe("creating a template", () => {
  it("rejects an unknown profile", async () => {
    const request = { name: "a", template: "x", profile: "cod" };
    await expect(templates.create(caller(), request)).rejects.toMatchObject({
      next: [{ step: "didYouMean", names: ["code"] }],
    });
    expect(await templates.create(caller(), { ...request, profile: "code" })).toMatchObject({ profile: "code" });
  });

  it("writes a readable file with permissions for its user only", async () => {
    await rm(folder, { recursive: true });
    const created = await templates.create(caller(), {
      name: "greet",
      description: "Greets.",
      template: "Greet {who}\nin {words:20} words.\n",
      variables: [
        { name: "words", type: "number" },
        { name: "who", enum: ["Ada", "Bob"] },
      ],
      options: { temperature: 0 },
    });
    expect(created).toMatchObject({ name: "greet", source: "user", file: join(folder, "greet.yaml") });
    expect(created.variables).toMatchObject([
      { name: "words", default: "20" },
      { name: "who", isRequired: true },
    ]);
    expect(await readFile(join(folder, "greet.yaml"), "utf8")).toMatchInlineSnapshot(`
      "name: greet
      description: Greets.
      options:
        temperature: 0
      variables:
        - name: words
          type: number
        - name: who
          enum:
            - Ada
            - Bob
      template: |
        Greet {who}
        in {words:20} words.
      "
    `);
    if (process.platform !== "win32") {
      expect((await stat(join(folder, "greet.yaml"))).mode & 0o777).toBe(0o600);
      expect((await stat(folder)).mode & 0o777).toBe(0o700);
    }
    expect(await templates.get(caller(), "greet")).toEqual(created);
  });

  it("keeps any text", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", minLength: 1 }), async (any) => {
        // YAML has one kind of line end; the others are read as it.
        const text = any.replaceAll(/[{}]/g, "").replaceAll(/\r\n?/g, "\n") || "x";
        await templates.create(caller(), { name: "any", template: text, system: text, mayOverwrite: true });
        expect(await templates.get(caller(), "any")).toMatchObject({ template: text, system: text });
      }),
      { numRuns: 50 },
    );
  });

  it("overwrites a template, whatever its file, only when requested", async () => {
    await mine("other.yaml", "name: greet\ntemplate: old\n");
    await expect(templates.create(caller(), { name: "greet", template: "new" })).rejects.toMatchObject({
      message: expect.stringContaining("other.yaml"),
      next: [expect.anything(), { step: "setArgument", argument: "overwrite", to: true }],
    });
    await expect(templates.create(caller(), { name: "GREET", template: "new" })).rejects.toThrow("already");
    const created = await templates.create(caller(), { name: "greet", template: "new", mayOverwrite: true });
    expect(created.file).toBe(join(folder, "other.yaml"));
    expect(await readdir(folder)).toEqual(["other.yaml"]);
  });

  it("doesn't overwrite an invalid file of that name", async () => {
    await mine("greet.yaml", "templat: old\n");
    await expect(templates.create(caller(), { name: "greet", template: "new" })).rejects.toThrow("already exists");
    expect(await readFile(join(folder, "greet.yaml"), "utf8")).toBe("templat: old\n");
  });

  it("succeeds once for concurrent calls with one name", async () => {
    const made = await Promise.allSettled(
      Array.from({ length: 8 }, (_unused, index) =>
        templates.create(caller(), { name: "greet", template: `t${index}` }),
      ),
    );
    expect(made.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  it.each([
    ["../greet", "is not a valid name"],
    ["a/b", "is not a valid name"],
    ["a\\b", "is not a valid name"],
    [".", "is not a valid name"],
    ["", "is not a valid name"],
    ["a\0", "is not a valid name"],
    ["x".repeat(65), "is not a valid name"],
    ["memory", "is the name of another prompt of ollm"],
    ["con", "is the name of a device on Windows"],
  ])("with the name %j is rejected, and writes nothing", async (name, message) => {
    await expect(templates.create(caller(), { name, template: "x" })).rejects.toThrow(message);
    expect(await readdir(folder)).toEqual([]);
  });

  it("with an invalid text is rejected with the reason, and writes nothing", async () => {
    const wrong = { name: "a", template: "{a:1} {a:2}" };
    await expect(templates.create(caller(), wrong)).rejects.toThrow("variable a has two defaults");
    await expect(
      templates.create(caller(), { name: "a", template: "{a}", variables: [{ name: "b" }] }),
    ).rejects.toThrow("variable b is not used in the text");
    await expect(templates.create(caller(), { name: "a", template: "x".repeat(300_000) })).rejects.toThrow(
      "larger than",
    );
    expect(await readdir(folder)).toEqual([]);
  });

  it("for the project writes to its folder, and needs a project", async () => {
    const created = await templates.create(caller(true), { name: "greet", template: "x", scope: "project" });
    expect(created).toMatchObject({ source: "project", file: join(project, ".ollm", "templates", "greet.yaml") });
    await rm(join(project, ".ollm"), { recursive: true });
    const first = await templates.create(caller(true, undefined), { name: "hi", template: "x", scope: "project" });
    expect(first.file).toBe(join(project, ".ollm", "templates", "hi.yaml"));
    await expect(templates.create(caller(), { name: "hi", template: "x", scope: "project" })).rejects.toThrow(
      "scope project needs a project",
    );
  });

  it.skipIf(process.platform === "win32")("writes nothing where the project's folder leads out of it", async () => {
    const outside = join(base, "outside");
    await mkdir(outside);
    await rm(join(project, ".ollm"), { recursive: true });
    await symlink(outside, join(project, ".ollm"));
    const creating = templates.create(caller(true, undefined), { name: "a", template: "x", scope: "project" });
    await expect(creating).rejects.toThrow("is a link out of");
    expect(await readdir(outside, { recursive: true })).toEqual([]);
  });

  it.skipIf(process.platform === "win32")("never overwrites the target of a link", async () => {
    const outside = join(base, "profile");
    await writeFile(outside, "export PATH");
    const own = join(project, ".ollm", "templates");
    await mkdir(own, { recursive: true });
    await symlink(outside, join(own, "a.yaml"));
    const request = { name: "a", template: "x", scope: "project", mayOverwrite: true } as const;
    await expect(templates.create(caller(true), request)).rejects.toThrow("a.yaml is a link and is not overwritten");
    expect(await readFile(outside, "utf8")).toBe("export PATH");
  });

  it.skipIf(process.platform === "win32" || process.getuid?.() === 0)(
    "reports a folder that can't be written",
    async () => {
      await chmod(folder, 0o500);
      await expect(templates.create(caller(), { name: "a", template: "x" })).rejects.toMatchObject({
        message: expect.stringContaining("EACCES"),
        next: [advice("make the folder writable")],
      });
      await chmod(folder, 0o700);
    },
  );
});

describe("removing a template", () => {
  it("deletes the user's file, which is published, and the built-in one is in force again", async () => {
    await mine("translate.yaml", "template: mine");
    await templates.list(caller());
    changes = [];
    expect(await templates.remove(caller(), "translate")).toMatchObject({
      name: "translate",
      hides: "built-in",
      file: join(folder, "translate.yaml"),
    });
    expect(await readdir(folder)).toEqual([]);
    expect(changes).toContainEqual({ kind: "templates changed" });
    expect(await templates.get(caller(), "translate")).toMatchObject({ source: "built-in" });
  });

  it("refuses built-in ones and those of a project, and deletes nothing", async () => {
    await ours("own.yaml", "template: ours");
    await expect(templates.remove(caller(true), "own")).rejects.toThrow("own is a template of the project");
    await expect(templates.remove(caller(true), "translate")).rejects.toThrow("translate is built in");
    await expect(templates.remove(caller(true), "nope")).rejects.toThrow('there is no template "nope"');
    expect(await readdir(join(project, ".ollm", "templates"))).toEqual(["own.yaml"]);
  });
});

describe("changes on disk", () => {
  const expectTold = () => eventually(() => expect(changes).toContainEqual({ kind: "templates changed" }));

  it("are published, also in folders that are created later, deleted and created again", async () => {
    await rm(folder, { recursive: true });
    await templates.list(caller());
    await mkdir(folder);
    await mine("a.yaml", "template: x");
    await expectTold();
    changes = [];
    await mine("a.yaml", "template: y");
    await expectTold();
    changes = [];
    await rm(folder, { recursive: true });
    await expectTold();
    changes = [];
    await mkdir(folder);
    await mine("b.yaml", "template: z");
    await expectTold();
    expect(await templates.get(caller(), "b")).toMatchObject({ template: "z" });
  });

  it("in an approved project are published, too", async () => {
    await templates.list(caller(true));
    await ours("a.yaml", "template: x");
    await expectTold();
  });

  it("are published for created templates, and not after close", async () => {
    await templates.list(caller());
    await templates.create(caller(), { name: "a", template: "x" });
    await expectTold();
    templates.close();
    changes = [];
    await mine("b.yaml", "template: x");
    await templates.list(caller());
    expect(changes).toEqual([]);
  });
});
