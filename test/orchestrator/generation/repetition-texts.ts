/** Texts of many kinds, labelled by whether they repeat themselves. The loops are modelled on output of small models. */
export interface LabelledText {
  readonly name: string;
  readonly text: string;
  /** The text that must remain. */
  readonly kept?: string;
}

const rows = (count: number, row: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => row(index)).join("\n");
const subjects = ["The harbour", "A gull", "The old keeper", "Every lamp", "Her brother", "The storm", "No ship"];
const verbs = ["watched", "followed", "remembered", "crossed", "feared", "outlived", "painted", "measured", "forgot"];
const objects = ["the tide", "a lantern", "the rocks", "the letters", "a song", "the horizon", "his maps", "the fog"];
const names = ["Ada", "Brian", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivan", "Jun", "Kofi", "Lena"];
const of = (list: readonly string[], index: number): string => list[index % list.length] ?? "";
/** The first five hundred sentences are different. */
const sentence = (index: number): string =>
  `${of(subjects, index)} ${of(verbs, index)} ${of(objects, index)} ${index % 2 === 0 ? "before" : "after"} ${of(names, index)} left.`;
const prose = (count: number): string => Array.from({ length: count }, (_, index) => sentence(index)).join(" ");
const refrain =
  "Row, row, row your boat,\nGently down the stream,\nMerrily, merrily, merrily, merrily,\nLife is but a dream.\n";
const zeros = (width: number, height: number): string =>
  `[\n${rows(height, () => `  [${Array.from({ length: width }, () => "0").join(", ")}],`)}\n]`;

export const ordinary: readonly LabelledText[] = [
  { name: "a story", text: prose(200) },
  { name: "an answer of one word", text: "Yes." },
  {
    name: "a Markdown table",
    text: `| Name | Age | City |\n|---|---|---|\n${rows(60, (i) => `| ${of(names, i)} | ${20 + i} | Paris |`)}`,
  },
  { name: "a Markdown table with equal cells", text: rows(40, (i) => `| row ${i} | yes | yes | no |`) },
  { name: "a Markdown table with equal rows", text: rows(30, () => "| - | - | - | - |") },
  { name: "a wide separator of a table", text: `|${"---|".repeat(60)}` },
  { name: "a CSV of different rows", text: rows(150, (i) => `2024-01-${(i % 28) + 1},${of(names, i)},${i * 17},EUR`) },
  { name: "a CSV of equal rows", text: `date,name,amount\n${rows(50, () => "2024-01-01,Smith,100,EUR")}` },
  { name: "a CSV of equal numbers", text: rows(300, () => "0,0,0,0") },
  { name: "a CSV of equal rows with words", text: rows(60, () => "open,Main Street,yes,no,pending") },
  { name: "a TSV", text: rows(120, (i) => `${i}\t${of(names, i)}\tactive\t0.5`) },
  {
    name: "a JSON array of similar objects",
    text: `[${rows(80, (i) => `{"id": ${i}, "name": "user", "active": true},`)}]`,
  },
  {
    name: "a JSON array of equal objects",
    text: `[${rows(40, () => '{"name": "user", "active": true, "role": null},')}]`,
  },
  { name: "JSON lines", text: rows(100, (i) => `{"level":"info","at":${1_700_000_000 + i},"msg":"request done"}`) },
  {
    name: "nested JSON",
    text: JSON.stringify(
      names.map((name, i) => ({ name, tags: ["a", "b"], at: { x: i, y: i } })),
      null,
      2,
    ),
  },
  {
    name: "a test file",
    text: rows(60, (i) => `  it("adds ${i}", () => {\n    expect(add(${i}, 1)).toBe(${i + 1});\n  });\n`),
  },
  {
    name: "a test file whose bodies are equal",
    text: rows(40, (i) => `test("case ${of(verbs, i)} ${i}", () => {\n  expect(true).toBe(true);\n});`),
  },
  { name: "equal assertions", text: rows(50, () => "    expect(result).toBe(true);") },
  {
    name: "a Python program",
    text: rows(60, (i) => `def step_${i}(self):\n    self.total += ${i}\n    return self.total\n`),
  },
  { name: "getters and setters", text: rows(40, (i) => `public int get${of(names, i)}${i}() { return this.value; }`) },
  { name: "a switch", text: rows(100, (i) => `    case ${i}: return "${of(names, i)}";\n      break;`) },
  { name: "closing brackets", text: `${"}\n".repeat(200)}${")".repeat(200)}` },
  { name: "HTML rows", text: rows(60, (i) => `<tr><td>${i}</td><td>${of(names, i)}</td></tr>`) },
  { name: "equal HTML rows", text: rows(70, () => "<tr><td></td><td></td></tr>") },
  { name: "SQL inserts", text: rows(60, (i) => `INSERT INTO users (id, name) VALUES (${i}, '${of(names, i)}');`) },
  { name: "CSS", text: rows(60, (i) => `.col-${i} { width: ${i}%; margin: 0; padding: 0; }`) },
  { name: "0, 0, 0", text: `const zeros = [${Array.from({ length: 512 }, () => "0").join(", ")}];` },
  { name: "a matrix of zeros, 30 by 30", text: zeros(30, 30) },
  { name: "a matrix of zeros, 32 by 32", text: zeros(32, 32) },
  {
    name: "ASCII art",
    text: `   /\\_/\\  \n  ( o.o ) \n   > ^ <  \n${rows(20, (i) => `${" ".repeat(20 - i)}${"*".repeat(2 * i + 1)}`)}`,
  },
  { name: "a drawn box", text: `+${"-".repeat(78)}+\n${rows(25, () => `|${" ".repeat(78)}|`)}\n+${"-".repeat(78)}+` },
  { name: "a chess board", text: rows(8, (i) => (i % 2 === 0 ? "# . " : ". # ").repeat(4)) },
  { name: "rulers", text: rows(12, (i) => `${"=".repeat(80)}\nSection ${i}: ${sentence(i)}`) },
  { name: "a poem with a refrain", text: rows(12, (i) => `${sentence(i)}\n${sentence(i + 20)}\n${refrain}`) },
  { name: "a round, sung three times", text: refrain.repeat(3) },
  { name: "a chorus of one word", text: `${"na ".repeat(120)}hey Jude` },
  { name: "laughter", text: "ha".repeat(200) },
  {
    name: "lines that a pupil writes fifteen times",
    text: rows(15, () => "I will not talk in class while the teacher is speaking."),
  },
  {
    name: "bottles of beer",
    text: rows(
      60,
      (i) =>
        `${99 - i} bottles of beer on the wall, ${99 - i} bottles of beer. Take one down, pass it around, ${98 - i} bottles of beer on the wall.`,
    ),
  },
  {
    name: "log lines",
    text: rows(150, (i) => `2024-05-01T12:${String(i % 60).padStart(2, "0")}:00Z INFO [server] heartbeat ok, ${i} ms`),
  },
  { name: "log lines without times", text: rows(25, () => "INFO: heartbeat of the server received") },
  {
    name: "the same request in an access log",
    text: rows(80, (i) => `127.0.0.1 - - [01/May/2024:12:00:${i % 60}] "GET / HTTP/1.1" 200 ${i}`),
  },
  { name: "base64", text: Buffer.from(prose(60)).toString("base64") },
  { name: "base64 of zeros", text: Buffer.alloc(1_500).toString("base64") },
  { name: "a hex dump", text: rows(60, (i) => `${(i * 16).toString(16).padStart(8, "0")}  ${"00 ".repeat(16)}`) },
  { name: "numbers from 1 to 1000", text: Array.from({ length: 1_000 }, (_, i) => i + 1).join(", ") },
  { name: "numbers, one a line", text: rows(600, (i) => String(i + 1)) },
  { name: "a long list", text: rows(100, (i) => `- ${sentence(i)}`) },
  { name: "a long numbered list", text: rows(100, (i) => `${i + 1}. ${sentence(i)}`) },
  {
    name: "a numbered list that begins each item alike",
    text: rows(80, (i) => `${i + 1}. Try to write about ${of(objects, i)} and ${of(names, i + 3)} ${i}`),
  },
  { name: "a task list", text: rows(60, (i) => `- [ ] ${of(verbs, i)} ${of(objects, i + 1)} (${i})`) },
  {
    name: "a multiplication table",
    text: rows(
      144,
      (i) => `${Math.floor(i / 12) + 1} x ${(i % 12) + 1} = ${(Math.floor(i / 12) + 1) * ((i % 12) + 1)}`,
    ),
  },
  {
    name: "a truth table",
    text: rows(64, (i) => `| ${i & 1} | ${(i >> 1) & 1} | ${(i >> 2) & 1} | ${(i >> 3) & 1} |`),
  },
  { name: "a dialogue", text: rows(60, (i) => `A: ${sentence(i)}\nB: I don't know.`) },
  { name: "YAML", text: rows(50, (i) => `- name: ${of(names, i)}${i}\n  enabled: true\n  retries: 3`) },
  { name: "equal YAML records", text: rows(20, () => "- name: default\n  enabled: true\n  retries: 3") },
  {
    name: "a calendar",
    text: rows(52, (i) => `Week ${i + 1}: Monday run, Tuesday rest, Wednesday swim, Friday ${of(verbs, i)}`),
  },
  { name: "blank lines between paragraphs", text: rows(40, (i) => `${sentence(i)}\n\n\n\n`) },
  { name: "a deep indentation", text: rows(40, (i) => `${" ".repeat(i * 6)}<div>`) },
  { name: "a diff", text: rows(80, (i) => `-  const value${i} = old();\n+  const value${i} = renewed();`) },
  {
    name: "Chinese prose",
    text: rows(
      40,
      (i) =>
        `第${i}天，渔夫看见了${of(["海", "船", "灯", "鸟", "雨"], i)}，他想起了${of(["母亲", "朋友", "故乡"], i)}。`,
    ),
  },
  {
    name: "twenty numbered lines that were asked for",
    text: `${rows(20, (i) => `${i + 1}. I must not feed the classroom hamster with chewing gum.`)}\n\nThat's all twenty.`,
  },
  {
    name: "SQL inserts of two numbers and equal words",
    text: rows(40, (i) => `INSERT INTO seats (hall, row_no, seat_no) VALUES ('Great Hall', ${i >> 3}, ${i % 8});`),
  },
  {
    name: "sentences with two numbers that are data",
    text: rows(40, (i) => `On day ${i + 1} the gauge at the old bridge showed ${(i * 7919) % 300} centimetres.`),
  },
  { name: "a zero matrix of 16 rows", text: zeros(16, 16) },
  { name: "pins of a board", text: rows(64, (i) => `const led${i} = board.pin${(i * 37) % 64};`) },
  { name: "a wall of emoji", text: rows(12, () => "🟦".repeat(20)) },
  { name: "lettered clauses", text: rows(24, (i) => `(${String.fromCodePoint(97 + i)}) that ${sentence(i)}`) },
  { name: "MIDI-like notes", text: rows(20, (i) => "C4 E4 G4 C5 ".repeat(4) + of(names, i)) },
];

const stuck = (start: string, block: string, characters = 5_000): string =>
  start + block.repeat(Math.ceil(characters / block.length));
const blockade =
  "In the 18th century, the British Navy had a policy of blockade, which meant that they could stop a ship from leaving port. ";

export const loops: readonly LabelledText[] = [
  { name: "a sentence", text: stuck(`${prose(5)} `, blockade), kept: `${prose(5)} ${blockade.trim()}` },
  {
    name: "a sentence from the first word",
    text: stuck("", "I am here to help you with that question. "),
    kept: "I am here to help you with that question.",
  },
  {
    name: "a line of a poem",
    text: stuck("The rain falls,\n", "A gentle lapping, a gentle lapping,\n"),
    kept: "The rain falls,\nA gentle lapping, a gentle lapping,",
  },
  {
    name: "a paragraph of 730 characters",
    text: stuck(`${prose(3)}\n\n`, `${prose(14)}\n\n`),
    kept: `${prose(3)}\n\n${prose(14)}`,
  },
  {
    name: "two paragraphs in turn",
    text: stuck("", `${prose(4)}\n\n${sentence(40)} ${sentence(41)}\n\n`),
    kept: `${prose(4)}\n\n${sentence(40)} ${sentence(41)}`,
  },
  {
    name: "sentences twice each, in turn",
    text: stuck("", `${sentence(1)} ${sentence(1)} ${sentence(2)} ${sentence(2)} `),
  },
  {
    name: "a recipe",
    text: stuck("Ingredients:\n", "- 2 cups milk\n- 2 cups chocolate chips\n- 2 teaspoons baking soda\n"),
    kept: "Ingredients:\n- 2 cups milk\n- 2 cups chocolate chips\n- 2 teaspoons baking soda",
  },
  { name: "half a sentence without an end", text: stuck("It is ", "the best of the best of the best and ") },
  { name: "two words", text: stuck("Well, ", "and so ") },
  { name: "one word", text: stuck("I think ", "the ") },
  { name: "numbers without an end", text: stuck("1. Lion\n2.", "1.1.1.1: ") },
  { name: "a list of zeros without an end", text: stuck("[", "0, ") },
  { name: "one character", text: stuck("Hm", "!", 9_000) },
  { name: "blank lines", text: stuck('{"name": "x"', "\n", 2_000), kept: '{"name": "x"' },
  { name: "spaces and tabs", text: stuck('{"name": ', "\t  ", 2_000), kept: '{"name":' },
  {
    name: "a numbered list of the same item",
    text: `Ideas:\n${rows(120, (i) => `${i + 1}. Aardvark`)}`,
    kept: "Ideas:\n1. Aardvark",
  },
  {
    name: "a numbered list that restarts",
    text: rows(150, (i) => `${i + 1}. ${of(names.slice(0, 7), i)} and the ${of(objects.slice(0, 7), i)}`),
  },
  {
    name: "steps that count",
    text: rows(120, (i) => `**Step ${i + 1}:** Repeat the process until the mixture is smooth.`),
    kept: "**Step 1:** Repeat the process until the mixture is smooth.",
  },
  {
    name: "bullets",
    text: stuck("Benefits:\n", "- Improved mental health\n- Reduced stress and anxiety\n"),
    kept: "Benefits:\n- Improved mental health\n- Reduced stress and anxiety",
  },
  { name: "a line of code", text: stuck("```python\n", 'print("Hello, world! How are you today?")\n', 9_000) },
  { name: "a function", text: stuck("", "def add(a, b):\n    result = a + b\n    return result\n\n", 9_000) },
  { name: "a JSON object", text: stuck("[", '{"name": "John", "age": 30, "city": "New York"},\n', 9_000) },
  { name: "a row of a table", text: stuck("| a | b |\n|---|---|\n", "| John | 30 | New York |\n", 9_000) },
  { name: "a row of numbers", text: stuck("x,y\n", "0,0,1,0\n", 9_000) },
  { name: "a separator of a table", text: stuck("| a |\n|", "---|", 9_000) },
  { name: "dialogue", text: stuck("", "User: What is your name?\nAssistant: My name is Assistant.\n") },
  {
    name: "two counters in a sentence",
    text: rows(90, (i) => `In step ${i + 2} we repeat what was done in step ${i + 1} until nothing changes.`),
    kept: "In step 2 we repeat what was done in step 1 until nothing changes.",
  },
  {
    name: "two counters in a line of code",
    text: rows(90, (i) => `    value${i + 1} = settings.get_value${i + 1}(None)`),
  },
  {
    name: "a lettered list of the same item",
    text: `Decided:\n${rows(26, (i) => `(${String.fromCodePoint(97 + i)}) that the members be informed of the date of the next meeting;`)}`,
    kept: "Decided:\n(a) that the members be informed of the date of the next meeting;",
  },
  {
    name: "options with the same text",
    text: rows(
      26,
      (i) => `Option ${String.fromCodePoint(65 + i)}: Raise the budget for marketing and hire a consultant.`,
    ),
  },
  { name: "one word, three hundred times", text: `The largest city of ${"the ".repeat(300)}` },
  { name: "dots", text: `Thinking about it${".".repeat(1_100)}` },
  { name: "six hundred emoji", text: `Well done! ${"🎉".repeat(600)}` },
  { name: "a path that grows", text: `Open /srv${"/data/backup".repeat(120)}` },
  { name: "an excuse", text: stuck("", "I'm sorry, but I can't assist with that. ") },
  {
    name: "thoughts",
    text: stuck("Okay, let me think. ", "Wait, maybe I should check that again. But the user said it is fine. "),
  },
  {
    name: "Chinese",
    text: stuck("从前，", "渔夫看见了大海，他想起了母亲和故乡。"),
    kept: "从前，渔夫看见了大海，他想起了母亲和故乡。",
  },
  { name: "Russian", text: stuck("", "Я люблю читать книги по вечерам. "), kept: "Я люблю читать книги по вечерам." },
  { name: "emoji", text: stuck("Great ", "🎉🎊", 9_000) },
  {
    name: "a heading",
    text: stuck("", "## Conclusion\n\nIn conclusion, the sea is wide.\n\n"),
    kept: "## Conclusion\n\nIn conclusion, the sea is wide.",
  },
];
