import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { strToU8, zipSync } from "fflate";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { routing } from "../../bench/routing.ts";
import { readResults } from "../../bench/support/routing/results.ts";
import { randomNumbers } from "../../scripts/classifier/labelled.ts";
import { convert, zipsIn } from "../../scripts/mmlu-pro-results.ts";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-routing-"));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

/** Share of right answers: `good` is best overall, `coder` and `poet` each at one category, `bad` nowhere. */
const strengths: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  bad: { code: 0.3, poems: 0.3, facts: 0.3 },
  coder: { code: 0.8, poems: 0.35, facts: 0.45 },
  good: { code: 0.55, poems: 0.55, facts: 0.7 },
  poet: { code: 0.3, poems: 0.8, facts: 0.4 },
};

async function generate(questions = 1500): Promise<void> {
  const random = randomNumbers(7);
  const lines = Array.from({ length: questions }, (_, question) => {
    const category = ["code", "poems", "facts"][question % 3] ?? "";
    // Some questions are hard for all.
    const ease = 0.6 * random();
    return Object.entries(strengths).map(([model, shares]) =>
      JSON.stringify({ question, category, model, correct: (random() + ease) / 1.6 > 1 - (shares[category] ?? 0) }),
    );
  });
  await writeFile(join(folder, "generated.jsonl"), `${lines.flat().join("\n")}\n`);
}

async function rates(options: Readonly<Record<string, string>> = {}): Promise<Readonly<Record<string, number>>> {
  return (await routing.run({ folder, ...options })).line ?? {};
}

describe("routing, on a generated set", () => {
  it("is between random and the oracles, and gains on the best single model, when all results are learned", async () => {
    await generate();
    const found = await rates();
    expect(Object.keys(found)).toEqual(["random", "best_single", "ours", "category_oracle", "oracle", "swaps"]);
    const { random = 0, best_single = 0, ours = 0, category_oracle = 0, oracle = 0 } = found;
    expect(random).toBeLessThan(best_single);
    expect(ours - best_single).toBeGreaterThan(0.6 * (category_oracle - best_single));
    expect(ours).toBeLessThan(category_oracle);
    expect(category_oracle).toBeLessThan(oracle);
    expect(await rates()).toEqual(found);
  });

  it("learns from the chosen model alone: a bad first model is left, a good one loses next to nothing", async () => {
    await generate(3000);
    const { ours = 0, random = 0 } = await rates({ feedback: "chosen", order: "bad" });
    expect(ours).toBeGreaterThan(random);
    const good = await rates({ feedback: "chosen", order: "good,bad,poet,coder" });
    expect(good["ours"]).toBeGreaterThan((good["best_single"] ?? 1) - 0.005);
  });

  it("counts what is known for certain exactly", async () => {
    const line = (question: number, category: string, model: string, correct: boolean) =>
      JSON.stringify({ question, category, model, correct });
    // Questions 0 and 1 are of category x, 2 and 3 of y; a is right at 0, 2 and 3, b at 0 and 1.
    const right = { a: [0, 2, 3], b: [0, 1] };
    const lines = Object.entries(right).flatMap(([model, own]) =>
      [0, 1, 2, 3].map((question) => line(question, question < 2 ? "x" : "y", model, own.includes(question))),
    );
    await writeFile(join(folder, "a.jsonl"), lines.join("\r\n"));
    expect(await rates()).toMatchObject({ random: 5 / 8, best_single: 3 / 4, category_oracle: 1, oracle: 1 });
  });

  it("judges many pools on either half of the questions, for either feedback, the same way each time", async () => {
    await generate(600);
    const { rows, verdict } = await routing.run({ folder, pools: "4", seed: "3" });
    expect(rows.map(({ questions, replays }) => [questions, replays])).toEqual([
      ["mixed", 4],
      ["file", 4],
    ]);
    expect(verdict).toMatch(
      /^\d+ questions not used for tuning, 4 pools, feedback all\nbar "never more than 0.3 points/,
    );
    expect((await routing.run({ folder, pools: "4", seed: "3" })).rows).toEqual(rows);
    const chosen = await routing.run({ folder, pools: "4", seed: "3", feedback: "chosen", half: "tuning" });
    expect(chosen.rows.map(({ replays }) => replays)).toEqual([8, 8]);
    expect(chosen.verdict).toMatch(
      /used for tuning, 4 pools, feedback chosen\nbar "never more than 0.5 points below the first/,
    );
  });

  it("prints one line of JSON", async () => {
    await generate(60);
    const main = fileURLToPath(new URL("../../bench/main.ts", import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [
      "--import=tsx",
      main,
      "routing",
      "--json",
      "--folder",
      folder,
    ]);
    expect(stdout).toMatch(/^\{.*\}\n$/);
    expect(JSON.parse(stdout)).toEqual(await rates());
  });
});

describe("results that can't be used", () => {
  it("are refused with file and line", async () => {
    const good = '{"question":1,"category":"x","model":"a","correct":true}';
    const bad = [
      ["not json", /not JSON/],
      ['{"question":1,"category":"x","model":"a"}', /correct/],
      ['{"question":1,"category":"x","model":"a","correct":1.5}', /correct/],
      ['{"question":null,"category":"x","model":"a","correct":true}', /question/],
      ["[]", /the line/],
    ] as const;
    for (const [line, reason] of bad) {
      await writeFile(join(folder, "b.jsonl"), `${good}\n\n${line}\n`);
      const found = await routing.run({ folder }).catch((error: unknown) => error);
      expect(found).toBeInstanceOf(InvalidRequest);
      expect(String(found)).toContain(`${join(folder, "b.jsonl")}:3: `);
      expect(String(found)).toMatch(reason);
    }
  });

  it("are refused where nothing is left, and so are unknown options' values", async () => {
    await expect(routing.run({})).rejects.toThrow("--folder DIR is missing");
    await expect(routing.run({ folder })).rejects.toThrow("has no *.jsonl files");
    await expect(routing.run({ folder: join(folder, "absent") })).rejects.toThrow("ENOENT");
    await generate(30);
    await expect(routing.run({ folder, order: "good,unknown" })).rejects.toThrow('no model "unknown"');
    await expect(routing.run({ folder, feedback: "some" })).rejects.toThrow("expected all or chosen");
    await expect(routing.run({ folder, pools: "-1" })).rejects.toThrow("expected a whole number");
  });

  it("leave out questions that a model lacks, and say how many", async () => {
    await generate(30);
    await writeFile(join(folder, "late.jsonl"), '{"question":3,"category":"code","model":"late","correct":true}\n');
    expect((await routing.run({ folder })).verdict).toContain("5 models, 1 questions; 29 left out that a model lacks");
  });
});

describe("the converter", () => {
  const record = { question_id: 1, category: "law", answer: "A", pred: "A", options: ["x"], generated_text: "…" };

  function zip(records: readonly unknown[]): Uint8Array {
    return zipSync({ "model_outputs.json": strToU8(JSON.stringify(records)), "__MACOSX/._x.json": strToU8("junk") });
  }

  it("writes a file for each open model that answered all questions, and names the rest", async () => {
    const both = [record, { ...record, question_id: 2, pred: null }, "total"];
    const zips = new Map(
      Object.entries({
        "model_outputs_Tiny-1B_5shots.zip": zip(both),
        "model_outputs_Half-1B_5shots.zip": zip([record]),
        "model_outputs_gpt-4o_5shots.zip": zip(both),
        "model_outputs_Broken-1B_5shots.zip": strToU8("no zip"),
        "model_outputs_Absent-1B_5shots.zip": undefined,
      }).map(([name, content]) => [name, async () => content] as const),
    );
    const to = join(folder, "results");
    const { written, passedOver } = await convert(zips, to);
    expect(written).toEqual([{ model: "Tiny-1B", questions: 2, right: 1 }]);
    expect(passedOver.map(({ file }) => file.split("_")[2])).toEqual(["gpt-4o", "Broken-1B", "Absent-1B", "Half-1B"]);
    expect(await readFile(join(to, "Tiny-1B.jsonl"), "utf8")).toBe(
      '{"question":1,"category":"law","correct":true,"model":"Tiny-1B"}\n{"question":2,"category":"law","correct":false,"model":"Tiny-1B"}\n',
    );
    expect(await readResults(to)).toEqual({
      models: ["Tiny-1B"],
      questions: [
        { category: "law", scores: [1] },
        { category: "law", scores: [0] },
      ],
    });
  });

  it("says so where there is neither a checkout nor a git directory", async () => {
    await expect(zipsIn(folder)).rejects.toThrow("git");
  });
});
