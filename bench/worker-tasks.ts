/** Tasks for `npm run bench -- worker`: six families of ten, made with fixed seeds. */
import functions from "./worker-functions.json" with { type: "json" };
import { type WorkerTask, cities, dataTask, hashCheck, names, numbers, pick, sqlTask, times } from "./worker-orders.ts";

const each = 10;

/** JSON with the keys of each object in order. */
const sorted =
  "((sort) => sort(sort))((sort) => (value) => Array.isArray(value) ? value.map(sort(sort)) : value && typeof value === 'object' ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sort(sort)(value[key])])) : value)";
const inOrder = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(inOrder)
    : typeof value === "object" && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, inOrder(inner)]),
        )
      : value;

function extractionTask(at: number): WorkerTask {
  const next = numbers(200 + at);
  const items = times(2 + next(3), (line) => ({
    article: pick(["bolts", "nuts", "hooks", "rings", "pins", "caps"], next(100) + line),
    count: 1 + next(40),
  }));
  const facts = {
    number: `R-${1000 + next(9000)}`,
    customer: pick(names, next(100)),
    city: pick(cities, next(100)),
    items,
  };
  const letter = [
    `Dear ${facts.customer},`,
    `thank you for your order, which we send to ${facts.city} on Monday as number ${facts.number}:`,
    ...items.map(({ article, count }) => `- ${count} packs of ${article}`),
    `Our warehouse in ${pick(cities, next(100) + 1)} answers questions under 030-${1000 + next(9000)}.`,
    "",
  ].join("\n");
  return {
    name: `extraction-${at}`,
    family: "extraction",
    task: 'Write out.json from letter.txt: {"number": text, "customer": text, "city": where it is sent to, "items": [{"article": text, "count": number}]}, the items in the letter\'s order.',
    files: {
      "letter.txt": letter,
      "check.mjs": hashCheck(
        `${sorted}(JSON.parse(text("out.json")))`,
        inOrder(facts),
        "out.json does not have what the letter says.",
      ),
    },
    check: "check.mjs",
    solution: { "out.json": JSON.stringify(facts) },
  };
}

function configTask(at: number): WorkerTask {
  const next = numbers(300 + at);
  const port = 3000 + next(6000);
  const flag = pick(["trace", "cache", "audit", "retry", "proxy"], next(100));
  const before = {
    server: { host: "127.0.0.1", port: 8080 },
    features: ["login", "search"],
    limits: { mb: 10 + next(90), seconds: 30 },
  };
  const after = { ...before, server: { ...before.server, port }, features: [...before.features, flag] };
  if (at % 2 === 0) {
    return {
      name: `config-${at}`,
      family: "config",
      task: `In config.json set the server's port to ${port}, and add "${flag}" at the end of features. Keep everything else.`,
      files: {
        "config.json": `${JSON.stringify(before, null, 2)}\n`,
        "check.mjs": hashCheck(
          `${sorted}(JSON.parse(text("config.json")))`,
          inOrder(after),
          "config.json is not as asked for.",
        ),
      },
      check: "check.mjs",
      solution: { "config.json": JSON.stringify(after) },
    };
  }
  const ini = (value: number, mode: string) =>
    `[server]\nhost = 127.0.0.1\nport = ${value}\n\n[log]\nlevel = ${mode}\nfile = app.log\n`;
  return {
    name: `config-${at}`,
    family: "config",
    task: `In app.ini change the port to ${port} and the log level to ${flag}. Keep everything else.`,
    files: {
      "app.ini": ini(8080, "info"),
      "check.mjs": hashCheck(
        'text("app.ini").trim().split("\\n").map((line) => line.trim())',
        ini(port, flag).trim().split("\n"),
        "app.ini is not as asked for.",
      ),
    },
    check: "check.mjs",
    solution: { "app.ini": ini(port, flag) },
  };
}

function codeTask(at: number): WorkerTask {
  const { signature, words, body, cases } = pick(functions, at);
  const name = signature.slice(0, signature.indexOf("("));
  const check = [
    'import assert from "node:assert";',
    `import { ${name} } from "./solution.mjs";`,
    ...cases.map(({ call, result }) => `assert.deepStrictEqual(${call}, ${result});`),
    "",
  ].join("\n");
  return {
    name: `code-${at}`,
    family: "code",
    task: `In solution.mjs write the function ${signature}, which returns ${words}.`,
    files: {
      "solution.mjs": `export function ${signature} {\n  throw new Error("not written yet");\n}\n`,
      "check.mjs": check,
    },
    check: "check.mjs",
    solution: { "solution.mjs": `export function ${signature} {\n  ${body}\n}\n` },
  };
}

const renames = [
  ["calc", "priceOf"],
  ["getData", "readOrders"],
  ["tmp", "discount"],
  ["fmt", "asText"],
  ["doIt", "ship"],
] as const;

function renameTask(at: number): WorkerTask {
  const [from, to] = pick(renames, at);
  const next = numbers(500 + at);
  const rate = 2 + next(8);
  const files: Record<string, string> = {
    "lib.mjs": `export function ${from}(value) {\n  return value * ${rate};\n}\n`,
    "main.mjs": `import { ${from} } from "./lib.mjs";\nimport { all } from "./more.mjs";\n\nconsole.log(${from}(${at + 1}), all([1, 2]));\n`,
    "more.mjs": `import { ${from} } from "./lib.mjs";\n\nexport const all = (values) => values.map((value) => ${from}(value));\n`,
  };
  if (at >= 5) files["notes.md"] = `# Notes\n\nUse \`${from}\` for one value.\n`;
  const own = Object.keys(files);
  const check = [
    'import { execFileSync } from "node:child_process";',
    'import { readFileSync } from "node:fs";',
    `const texts = ${JSON.stringify(own)}.map((name) => readFileSync(name, "utf8"));`,
    `const old = texts.filter((text) => /\\b${from}\\b/.test(text)).length;`,
    `const renamed = texts.filter((text) => /\\b${to}\\b/.test(text)).length;`,
    'const output = execFileSync(process.execPath, ["main.mjs"], { encoding: "utf8" }).trim();',
    `const wanted = "${(at + 1) * rate} [ ${rate}, ${rate * 2} ]";`,
    `if (old > 0 || renamed !== ${own.length} || output !== wanted) { console.log("files with the old name:", old, "with the new one:", renamed, "of ${own.length}; output:", output); process.exit(1); }`,
    "",
  ].join("\n");
  return {
    name: `rename-${at}`,
    family: "rename",
    task: `Rename the function ${from} to ${to} in all files: ${own.join(", ")}. Change nothing else.`,
    files: { ...files, "check.mjs": check },
    check: "check.mjs",
    solution: Object.fromEntries(Object.entries(files).map(([name, text]) => [name, text.replaceAll(from, to)])),
  };
}

export const workerTasks: readonly WorkerTask[] = [
  sqlTask,
  extractionTask,
  configTask,
  dataTask,
  codeTask,
  renameTask,
].flatMap((make) => times(each, make));

/** The problems of HumanEval, from its file of JSON lines. */
export function humanEvalTasks(lines: string): readonly WorkerTask[] {
  return lines
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const { task_id, prompt, test, entry_point } = JSON.parse(line) as Readonly<
        Record<"task_id" | "prompt" | "test" | "entry_point", string>
      >;
      return {
        name: task_id.replaceAll("/", "-"),
        family: "HumanEval",
        task: `In solution.py complete the function ${entry_point}, as its comment says.`,
        files: {
          "solution.py": `${prompt.trimEnd()}\n    raise NotImplementedError\n`,
          "check.py": `from solution import *\n${test}\ncheck(${entry_point})\n`,
        },
        check: "check.py",
      };
    });
}
