import { createHash } from "node:crypto";
import fc from "fast-check";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { guideIn, guideState, withGuide, withoutGuide } from "../../../src/cli/setup/guide-plan.ts";
import { guideText } from "../../../src/resources/guide.ts";
import { parseGitSource } from "../../../src/server/files/git-repository.ts";
import { routeAndGenerate } from "../../../src/tools/route-and-generate.ts";
import { olderGuide } from "../../support/older-guide.ts";

type GuideForm = Parameters<typeof guideIn>[0];

const forms = ["skill", "instructions", "section"] as const satisfies readonly GuideForm[];

describe("the text", () => {
  test.each(forms)("costs at most 300 tokens as %s", (form) => {
    expect(countTokens(guideIn(form))).toBeLessThanOrEqual(300);
  });

  test("fits into a terminal of 60 columns with an indent", () => {
    expect(Math.max(...guideText.split("\n").map((line) => line.length))).toBeLessThanOrEqual(58);
  });

  test("names the tool and arguments that exist", () => {
    const known = [
      routeAndGenerate.name,
      ...Object.keys(z.toJSONSchema(routeAndGenerate.input, { io: "input" }).properties ?? {}),
    ];
    const named = [...guideText.matchAll(/`(\w+)`/g)].map((match) => match[1]);
    expect(named.length).toBeGreaterThan(3);
    for (const name of named) expect(known).toContain(name);
  });

  test("names a git source that can be read", () => {
    const [, source = ""] = /`(git:\w+)`/.exec(guideText) ?? [];
    expect(parseGitSource(source)).toEqual({ kind: "staged" });
  });

  test("a skill has the front matter of the Agent Skills format", () => {
    const head = parse(guideIn("skill").split("---\n")[1] ?? "") as Record<string, string>;
    expect(Object.keys(head)).toEqual(["name", "description"]);
    expect(head["name"]).toMatch(/^[a-z0-9-]{1,64}$/);
    expect(head["description"]?.length).toBeLessThanOrEqual(1_024);
  });

  test("VS Code's instructions apply to all files", () => {
    expect(parse(guideIn("instructions").split("---\n")[1] ?? "")).toEqual({ applyTo: "**" });
  });
});

describe("the state", () => {
  test.each(forms)("of a %s: absent, current, older, edited", (form) => {
    expect(guideState("", form)).toBe("absent");
    expect(guideState(withGuide("", form), form)).toBe("current");
    expect(guideState(olderGuide(form), form)).toBe("older");
    expect(guideState(withGuide("", form).replace("free,", "cheap,"), form)).toBe("changed");
  });

  test("a guide with other line breaks is the same guide", () => {
    expect(guideState(withGuide("", "section").replaceAll("\n", "\r\n"), "section")).toBe("current");
    expect(guideState(guideIn("skill").replaceAll("\n", "\r\n"), "skill")).toBe("current");
  });

  test("a file of that name without our mark is another program's", () => {
    expect(guideState("---\nname: ollm\n---\nmine\n", "skill")).toBe("foreign");
  });

  test.each([
    ["twice", `${guideIn("section")}\n${guideIn("section")}\n`],
    ["without its end", guideIn("section").replace("<!-- end of ollm guide -->", "")],
    ["without its start", guideIn("section").replace(/<!-- ollm guide.*-->/, "")],
    ["with a mark without a checksum", guideIn("section").replace(/guide [0-9a-f]+/, "guide")],
    ["with end before start", `<!-- end of ollm guide -->\n${guideIn("section").split("<!-- end")[0]}`],
  ])("a section %s was edited", (_what, text) => {
    expect(guideState(text, "section")).toBe("changed");
  });

  test("the mark has a checksum of everything else, so that later versions know what earlier ones wrote", () => {
    const first = "<!-- ollm guide {}: ollm setup --undo removes it -->\ntext\n<!-- end of ollm guide -->";
    const sum = createHash("sha256").update(first.replace("{}", "")).digest("hex").slice(0, 8);
    expect(guideState(`# Mine\n\n${first.replace("{}", sum)}\n`, "section")).toBe("older");
  });
});

describe("a section", () => {
  const piece = fc.constantFrom("a", "# b", "", " ", "\n", "\r\n", "\r", "\n\n", "\uFEFF", "é", "<!-- c -->", "```");
  const document = fc.array(piece, { maxLength: 8 }).map((parts) => parts.join(""));

  test("comes and goes, with an update between, and leaves every byte of any text", () => {
    fc.assert(
      fc.property(document, (text) => {
        const added = withGuide(text, "section");
        expect(guideState(added, "section")).toBe("current");
        expect(withoutGuide(added, "section")).toBe(text);
        const older = added.replace(/<!-- ollm guide[^]*end of ollm guide -->/, () =>
          added.includes("\r\n<!-- end") ? olderGuide("section").replaceAll("\n", "\r\n") : olderGuide("section"),
        );
        expect(withGuide(older, "section")).toBe(added);
        expect(withoutGuide(older, "section")).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  test("leaves what the user wrote around it since", () => {
    const added = withGuide("# Mine\n", "section");
    const edited = added.replace("# Mine", "# Ours") + "\n## More\n";
    expect(withoutGuide(edited, "section")).toBe("# Ours\n\n## More\n");
  });

  test("is written with the file's line breaks", () => {
    expect(withGuide("# Mine\r\n", "section").replaceAll("\r\n", "")).not.toContain("\n");
  });
});
