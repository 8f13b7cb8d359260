import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { instructionsFor } from "../src/server/mcp/instructions.ts";
import { tools as ourTools } from "../src/tools/index.ts";
import type { Asked } from "./models.ts";
import {
  type Row,
  call,
  chatPath,
  expectIn,
  generate,
  once,
  onlyResult,
  quoted,
  sentToEngine,
  slowly,
  untilDone,
  underWay,
} from "./row.ts";
import { type World, end, counted, inDiff, inNotes } from "./world.ts";

/** Some assistants don't tell their model that a result is an error. */
function expectAnswer(text: string, isError: boolean): void {
  if (isError) throw new Error(text);
  expectIn(text, "word0 word1", "not the answer");
}

/** Where in a request a text stands. */
function placesOf(text: string, value: unknown, at = ""): readonly string[] {
  if (typeof value === "string") return value.includes(text) ? [at] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const type = (inner as { role?: unknown; name?: unknown } | null)?.role;
    const part = /^\d+$/.test(key) ? (typeof type === "string" ? `[${type}]` : "") : `${at === "" ? "" : "."}${key}`;
    return placesOf(text, inner, `${at}${part}`);
  });
}

function firstWithTools(world: World): Asked {
  const asked = world.models.asked.find(({ tools, row }) => row !== undefined && tools.length > 0);
  if (asked === undefined) throw new Error("no request had tools");
  return asked;
}

const number = (value: number): string => value.toLocaleString("en");

const defaultTools = ourTools.filter(({ set }) => set !== "extra");

/** How many characters of the longest description of our tools, without those that it has whole, stand in a request. */
function partOfDescription(body: unknown, whole: readonly string[]): number {
  const { description } = defaultTools
    .filter(({ name }) => !whole.some((each) => each.endsWith(name)))
    .reduce((one, other) => (other.description.length > one.description.length ? other : one));
  const text = JSON.stringify(body);
  let length = description.length;
  while (length > 0 && !text.includes(description.slice(0, length))) length -= 1;
  return length;
}

/** What the assistant put in place of what it left out. */
function cutBy(text: string): string {
  const [words] = /[^\n".…()\d]*\b(truncated|too large|omitted)\b[^\n".…()]*/i.exec(text) ?? [];
  return words === undefined ? "" : `, with "${words.trim()}"`;
}

export const setUp: Row = {
  id: "setup",
  title: "`ollm setup`, `--undo`",
  async run(world) {
    const before = await world.files();
    const { work } = world.places;
    const { client } = world.assistant;
    const add = ["setup", "--client", client, "--root", work, "--guide", "--plugin", "--yes"];
    for (const words of [add, ["setup", "--undo", "--yes"], add]) {
      const { code, output } = await world.ollm(...words);
      if (code !== 0) throw new Error(`ollm ${words.join(" ")} ended with ${code}: ${output.slice(-300)}`);
      if (words !== add) expectSame(before, await world.files());
    }
    return "✓ undone byte for byte";
  },
};

function expectSame(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): void {
  const kept = [...after].filter(([path]) => !path.includes(".ollm-backup-"));
  const changed = [...before.keys(), ...kept.map(([path]) => path)].filter(
    (path) => before.get(path) !== after.get(path),
  );
  if (changed.length > 0) throw new Error(`other than before: ${[...new Set(changed)].join(", ")}`);
}

/** In runs that end by themselves. */
export const runs: readonly Row[] = [
  {
    id: "quick",
    title: "a quick answer",
    async run(world) {
      const startedAt = performance.now();
      const { text, isError } = await call(world, "quick", "route_and_generate", { prompt: "What is a heron?" });
      expectAnswer(text, isError);
      return `✓ ${((performance.now() - startedAt) / 1_000).toFixed(1)} s with its start`;
    },
  },
  {
    id: "name",
    title: "its name in `ollm stats`",
    async run(world) {
      const { output } = await world.ollm("stats", "--by", "client", "--json");
      const { rows } = JSON.parse(output) as { rows: readonly { readonly name: string; readonly version?: string }[] };
      return `✓ ${rows.map(({ name, version = "" }) => `${name} ${version}`.trim()).join(", ")}`;
    },
  },
  {
    id: "tools",
    title: "tools listed",
    run(world) {
      const { tools, body } = firstWithTools(world);
      const ours = tools.filter(({ name }) => name.includes("ollm"));
      const whole = ours.map(({ name }) => name);
      const named = new Set([...(JSON.stringify(body).match(/mcp__ollm__\w+/g) ?? []), ...whole]);
      if (named.size < defaultTools.length) throw new Error(`only ${[...named].join(", ") || "other tools"}`);
      const bytes = number(ours.reduce((sum, each) => sum + each.bytes, 0));
      if (ours.length >= defaultTools.length) return Promise.resolve(`✓ ${ours.length}, ${bytes} bytes, whole`);
      const shown = partOfDescription(body, whole);
      const how = shown < 20 ? "by name only" : `by name and at most ${shown} characters of the description`;
      const seen =
        ours.length === 0 ? "" : `, but whole, ${bytes} bytes: ${whole.map((name) => `\`${name}\``).join(", ")}`;
      return Promise.resolve(`✓ ${named.size}, deferred: ${how}${seen}`);
    },
  },
  {
    id: "instructions",
    title: "instructions in its context",
    run(world) {
      const { body } = firstWithTools(world);
      // Before the list of models, which depends on when the daemon listed them.
      const [text = ""] = instructionsFor([]).split(" No model is installed");
      const [place] = placesOf(text, body);
      if (place === undefined) return Promise.resolve("not in its context");
      return Promise.resolve(`✓ \`${place}\`, ${countTokens(text)} tokens`);
    },
  },
  {
    id: "guide",
    title: "guide in its context",
    async run(world) {
      const { body } = firstWithTools(world);
      const found: string[] = [];
      for (const [path, content] of await world.files()) {
        if (path.includes("backup")) continue;
        const description = /^description: (.*)$/m.exec(content)?.[1];
        const section = /<!-- ollm guide[^>]*-->\n([\s\S]*?)(?:\n<!--|$)/.exec(content)?.[1];
        const text = path.endsWith("ollm/SKILL.md") ? description : section;
        if (text === undefined) continue;
        const [place] = placesOf(text.trim(), body);
        found.push(
          place === undefined
            ? `not in its context (${path})`
            : `✓ \`${place}\`, ${countTokens(text.trim())} tokens of \`~/${path}\``,
        );
      }
      return found[0] ?? "none is written";
    },
  },
  {
    id: "form",
    title: "a result, as its model gets it",
    async run(world) {
      const { text } = world.models.results("quick")[0] ?? { text: "" };
      const sizes = [1_500, 4_000, 8_000, 16_000, 30_000];
      await world.once("long", (results) => {
        const size = sizes[results.length];
        const input = { prompt: `Count to ${size}`, model: "huge:1b", max_tokens: 60_000 };
        return size === undefined ? undefined : generate(world, input);
      });
      const results = world.models.results("long");
      if (results.length < sizes.length) throw new Error(`only ${results.length} of ${sizes.length} came`);
      const lengths = sizes.map((size) => counted(String(size)).length);
      const isWhole = (at: number): boolean => results[at]?.text.includes(`n${(sizes[at] ?? 0) - 1}`) === true;
      const atCut = sizes.findIndex((_, at) => !isWhole(at) || (results[at]?.text.length ?? 0) < (lengths[at] ?? 0));
      const isTwice = (text.match(/word0 word1 /g) ?? []).length > 1;
      const isData = /\{\s*"text":/.test(text);
      const form = isTwice ? "text and structured, so the answer twice" : isData ? "structured, as JSON" : "text";
      if (atCut === -1) return `${form}; whole at ${number(lengths.at(-1) ?? 0)} characters`;
      const { text: cut = "" } = results[atCut] ?? {};
      const whole = atCut === 0 ? "" : `whole at ${number(lengths[atCut - 1] ?? 0)} characters; `;
      return `${form}; ${whole}of ${number(lengths[atCut] ?? 0)} it gets ${number(cut.length)}${cutBy(cut)}`;
    },
  },
  {
    id: "file",
    title: "a file",
    async run(world) {
      const { text, isError } = await call(world, "file", "route_and_generate", {
        prompt: "Sum up.",
        files: ["notes.txt"],
      });
      expectAnswer(text, isError);
      expectIn(sentToEngine(world), inNotes, "the file did not reach the model");
      return "✓";
    },
  },
  {
    id: "diff",
    title: "a git diff",
    async run(world) {
      const { text, isError } = await call(world, "diff", "route_and_generate", {
        prompt: "Sum up.",
        files: ["git:diff"],
      });
      expectAnswer(text, isError);
      expectIn(sentToEngine(world), inDiff, "the diff did not reach the model");
      return "✓";
    },
  },
  {
    id: "template",
    title: "a template prompt",
    async run(world) {
      const input = { template: "commit-message", files: ["git:diff"] };
      const { text, isError } = await call(world, "template", "route_and_generate", input);
      expectAnswer(text, isError);
      const sent = sentToEngine(world);
      expectIn(sent, /commit message/i, "the template did not reach the model");
      expectIn(sent, inDiff, "its diff did not reach the model");
      return "✓";
    },
  },
  {
    id: "resource",
    title: "a resource",
    async run(world) {
      const turn = world.assistant.resource?.("ollm://models");
      if (turn === undefined) {
        const other = /\w*mcp_?resource\w*/i.exec(JSON.stringify(firstWithTools(world).body));
        if (other !== null) throw new Error(`not tried: ${other[0]}`);
        return "its model has no tool for resources";
      }
      const { text, isError } = await onlyResult(world, "resource", turn);
      if (isError) throw new Error(text);
      expectIn(text, "smollm2:135m", "not the list of models");
      return "✓";
    },
  },
  {
    id: "hook",
    title: "a line with a large read",
    async run(world) {
      const read = world.assistant.read;
      if (read === undefined) return "no hook is written";
      const told: string[] = [];
      for (const [name, lines] of [
        ["large", 4_000],
        ["small", 4],
      ] as const) {
        const file = join(world.places.work, `${name}.log`);
        await writeFile(file, "The ferry left at noon.\n".repeat(lines));
        await onlyResult(world, `hook-${name}`, read(file));
        const body = JSON.stringify(world.models.asked.findLast(({ row }) => row === `hook-${name}`)?.body);
        const [line] = new RegExp(`${name}\\.log is about [\\d,]+ tokens[^.]*\\.`).exec(body) ?? [];
        if (line !== undefined) told.push(line);
      }
      world.more = { OLLM_HOOK: "refuse" };
      const file = join(world.places.work, "large.log");
      const refused = await onlyResult(world, "hook-refuse", read(file)).finally(() => (world.more = {}));
      const { output } = await world.ollm("doctor", "--json");
      const { checks } = JSON.parse(output) as { readonly checks: readonly { name: string; message: string }[] };
      const shown = checks.find(({ name }) => name === `${world.assistant.title} hook`)?.message ?? "nothing";
      expectIn(shown, /hooks\.json$/, "ollm doctor says of the hook");
      if (told.length === 0) return "its model is not told";
      if (told.length > 1) throw new Error(`a small read is announced, too: ${told.join(" ")}`);
      expectIn(refused.text, /^(?![^]*The ferry left)[^]*large\.log is about [^]*offset and limit/, "OLLM_HOOK=refuse");
      return `✓ its model is told "${quoted(told[0] ?? "")}", of a small file nothing; refused with OLLM_HOOK=refuse`;
    },
  },
  {
    id: "memory",
    title: "a memory",
    async run(world) {
      const value = "The heron's name is Alba.";
      const { text, isError } = await call(world, "remember", "remember", { key: "heron", value });
      if (isError) throw new Error(text);
      const recalled = await call(world, "recall", "recall", { key: "heron" });
      expectIn(recalled.text, "Alba", "not recalled");
      world.ollama.reset();
      await call(world, "memory", "route_and_generate", { prompt: "What is the heron's name?" });
      expectIn(sentToEngine(world), "Alba", "not in the prompt");
      return "✓ saved, recalled by a second run, in its prompt";
    },
  },
  {
    id: "job",
    title: "a call beyond its timeout",
    async run(world) {
      slowly(world);
      const ran = await world.once("job", untilDone(world, { prompt: "Count slowly." }));
      const results = world.models.results("job");
      const [first] = results;
      if (first === undefined) throw new Error(`no call was made: ${ran.output.slice(-300)}`);
      expectIn(results.at(-1)?.text ?? "", "word99", `the answer did not come in ${results.length} calls`);
      if (results.length === 1) return "✓ it waits as long as progress arrives: no job";
      return `✓ a job after 3 s, fetched with ${results.length - 1} calls of \`job\``;
    },
  },
  {
    id: "killed",
    title: "the daemon killed in the middle",
    async run(world) {
      slowly(world);
      const running = world.once("killed", once(generate(world, { prompt: "Count." })));
      await underWay(world);
      const pid = await world.daemonPid();
      if (pid === undefined) throw new Error("no daemon runs");
      end(pid);
      await running;
      const [result] = world.models.results("killed");
      if (result === undefined) throw new Error("its model heard nothing of the call");
      const after = await call(world, "afterwards", "route_and_generate", { prompt: "Again." });
      expectIn(after.text, "word0", "the next call failed");
      if (result.text.includes("word99")) return "✓ answered all the same; the next call, too";
      expectIn(result.text, /call again/i, "no next step");
      return "✓ told to call again; the next call works";
    },
  },
  {
    id: "two",
    title: "two at once",
    async run(world) {
      slowly(world);
      const slow = world.once("two-slow", untilDone(world, { prompt: "Count.", model: "smollm2:135m" }));
      const long = await underWay(world);
      const turn = generate(world, { prompt: "Quick.", model: "second:1b" });
      await world.once("two-quick", once(turn), join(world.folder, "other"));
      await slow;
      const quick = world.ollama.requests.findLast(({ path }) => path === chatPath);
      for (const row of ["two-slow", "two-quick"]) {
        const [result] = world.models.results(row);
        if (result === undefined || result.isError) throw new Error(`${row}: ${result?.text ?? "no call was made"}`);
      }
      const { closedAt = 0 } = long;
      if (quick === undefined || quick === long)
        throw new Error(`the second reached no model: ${world.models.results("two-quick")[0]?.text ?? ""}`);
      if (quick.receivedAt > closedAt) return "both answered, but the second began after the first had ended";
      return (quick.closedAt ?? Infinity) < closedAt ? "✓ the quick one did not wait" : "✗ the quick one waited";
    },
  },
];

/** What a real model makes of a file, behind a real assistant. */
export const asksWeights = (file: string): Row => ({
  id: "weights",
  title: "a file, answered by real weights in the embedded engine",
  async run(world) {
    const model = "real:weights";
    const imported = await world.ollm("import", file, model);
    if (imported.code !== 0) throw new Error(`the weights can't be imported: ${imported.output.slice(-300)}`);
    const startedAt = performance.now();
    const input = { prompt: "Where does the heron nest? Answer in one short sentence.", files: ["notes.txt"], model };
    const { text, isError } = await call(world, "weights", "route_and_generate", input);
    if (isError) throw new Error(text);
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    const { output } = await world.ollm("logs");
    const line = output.split("\n").findLast((each) => each.includes("route_and_generate")) ?? "";
    return `✓ ${seconds} s with the start of the assistant and the load; its model is told ${text}; \`ollm logs\` has "${line.trim()}"`;
  },
});

export const undo: Row = {
  id: "undo",
  title: "`ollm setup --undo` after use",
  async run(world) {
    const before = await world.files();
    const { code, output } = await world.ollm("setup", "--undo", "--yes");
    if (code !== 0) throw new Error(output.slice(-300));
    const after = await world.files();
    for (const [path, text] of after) {
      const old = before.get(path);
      // A database of the assistant, which it still writes, is none of our files.
      if (old === text || path.includes(".ollm-backup-") || text.includes("\0")) continue;
      // What is left are lines that were there, in their order; the last of a list loses its comma.
      const lines = (old ?? "").split("\n").map((line) => line.replace(/,$/, ""));
      let at = 0;
      for (const line of text.split("\n")) {
        at = lines.indexOf(line.replace(/,$/, ""), at) + 1;
        if (at === 0) throw new Error(`${path} has a new line: ${line}`);
      }
    }
    const left = [...after].filter(
      ([path, text]) =>
        !path.includes("backup") && /\/cli\.mjs/.test(text) && /config|claude\.json|settings/.test(path),
    );
    if (left.length > 0) throw new Error(`still named in ${left.map(([path]) => path).join(", ")}`);
    return "✓ only the entry and the guide go";
  },
};
