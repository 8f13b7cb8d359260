/** Tasks about a table of orders, and how checks are made without the answers in them. */
import { createHash } from "node:crypto";

export interface WorkerTask {
  readonly name: string;
  readonly family: string;
  readonly task: string;
  readonly files: Readonly<Record<string, string>>;
  /** The check: a file of `files`, run by the program of its ending. It holds hashes, not the answers. */
  readonly check: "check.mjs" | "check.py";
  /** Files that pass the check; absent for foreign tasks. */
  readonly solution?: Readonly<Record<string, string>>;
}

/** Numbers from 0 to `below` that are the same in every run. */
export function numbers(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
}

export const pick = <Item>(items: readonly Item[], at: number): Item => items[at % items.length] as Item;
const hash = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");
export const times = <Made>(count: number, make: (at: number) => Made): readonly Made[] =>
  Array.from({ length: count }, (_, at) => make(at));

export const names = ["Ada", "Bert", "Cleo", "Dana", "Emil", "Fay", "Gus", "Hana"];
export const cities = ["Bern", "Cork", "Graz", "Lyon", "Oslo", "Riga"];

/** A check that compares a value, which `read` makes of the files, with a hash. */
export const hashCheck = (read: string, expected: unknown, hint: string): string =>
  [
    'import { createHash } from "node:crypto";',
    'import { readFileSync } from "node:fs";',
    'const text = (name) => readFileSync(name, "utf8");',
    `const value = ${read};`,
    'const found = createHash("sha256").update(JSON.stringify(value)).digest("hex");',
    `if (found !== "${hash(expected)}") { console.log(${JSON.stringify(hint)}, "Found:", JSON.stringify(value)); process.exit(1); }`,
    "",
  ].join("\n");

interface Order {
  readonly id: number;
  readonly name: string;
  readonly city: string;
  readonly amount: number;
  readonly state: "paid" | "open";
  readonly day: string;
}

function orders(seed: number, count = 24): readonly Order[] {
  const next = numbers(seed);
  return times(count, (at) => ({
    id: at + 1,
    name: pick(names, next(100)),
    city: pick(cities, next(100)),
    amount: 5 + next(95),
    state: next(3) === 0 ? "open" : "paid",
    day: `2026-${String(1 + next(6)).padStart(2, "0")}-${String(1 + next(28)).padStart(2, "0")}`,
  }));
}

function grouped<Key extends string>(rows: readonly Order[], key: (row: Order) => Key) {
  const found = new Map<Key, Order[]>();
  for (const row of rows) found.set(key(row), [...(found.get(key(row)) ?? []), row]);
  return [...found].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

const sum = (rows: readonly Order[]): number => rows.reduce((all, { amount }) => all + amount, 0);
const paid = (rows: readonly Order[]) => rows.filter(({ state }) => state === "paid");

/** What is asked of the orders, and the rows of the answer. */
const questions: readonly (readonly [
  words: string,
  query: string,
  answer: (rows: readonly Order[]) => readonly (readonly unknown[])[],
])[] = [
  [
    "name and sum of amount of the paid orders of each name, ordered by name",
    "SELECT name, SUM(amount) FROM orders WHERE state = 'paid' GROUP BY name ORDER BY name",
    (rows) => grouped(paid(rows), (row) => row.name).map(([name, own]) => [name, sum(own)]),
  ],
  [
    "city and number of orders of each city, ordered by city",
    "SELECT city, COUNT(*) FROM orders GROUP BY city ORDER BY city",
    (rows) => grouped(rows, (row) => row.city).map(([city, own]) => [city, own.length]),
  ],
  [
    "id of the open orders, ordered by id",
    "SELECT id FROM orders WHERE state = 'open' ORDER BY id",
    (rows) => rows.filter(({ state }) => state === "open").map(({ id }) => [id]),
  ],
  [
    "city and the largest amount of each city, ordered by city",
    "SELECT city, MAX(amount) FROM orders GROUP BY city ORDER BY city",
    (rows) =>
      grouped(rows, (row) => row.city).map(([city, own]) => [city, Math.max(...own.map(({ amount }) => amount))]),
  ],
  [
    "id and amount of the five orders with the largest amounts, the largest first, equal amounts by id",
    "SELECT id, amount FROM orders ORDER BY amount DESC, id LIMIT 5",
    (rows) =>
      rows
        .toSorted((a, b) => b.amount - a.amount || a.id - b.id)
        .slice(0, 5)
        .map(({ id, amount }) => [id, amount]),
  ],
  [
    "name of those with more than three orders, ordered by name",
    "SELECT name FROM orders GROUP BY name HAVING COUNT(*) > 3 ORDER BY name",
    (rows) =>
      grouped(rows, (row) => row.name)
        .filter(([, own]) => own.length > 3)
        .map(([name]) => [name]),
  ],
  [
    "the month as the first seven characters of day, and the sum of amount of each month, ordered by month",
    "SELECT substr(day, 1, 7) AS m, SUM(amount) FROM orders GROUP BY m ORDER BY m",
    (rows) => grouped(rows, (row) => row.day.slice(0, 7)).map(([month, own]) => [month, sum(own)]),
  ],
  [
    "the number of different names in each city, as city and number, ordered by city",
    "SELECT city, COUNT(DISTINCT name) FROM orders GROUP BY city ORDER BY city",
    (rows) => grouped(rows, (row) => row.city).map(([city, own]) => [city, new Set(own.map(({ name }) => name)).size]),
  ],
  [
    "id of the paid orders with an amount above 50, ordered by id",
    "SELECT id FROM orders WHERE state = 'paid' AND amount > 50 ORDER BY id",
    (rows) =>
      paid(rows)
        .filter(({ amount }) => amount > 50)
        .map(({ id }) => [id]),
  ],
  [
    "state, number of orders and sum of amount of each state, ordered by state",
    "SELECT state, COUNT(*), SUM(amount) FROM orders GROUP BY state ORDER BY state",
    (rows) => grouped(rows, (row) => row.state).map(([state, own]) => [state, own.length, sum(own)]),
  ],
];

export function sqlTask(at: number): WorkerTask {
  const rows = orders(100 + at);
  const [words, query, answer] = pick(questions, at);
  const values = rows.map(
    ({ id, name, city, amount, state, day }) => `(${id}, '${name}', '${city}', ${amount}, '${state}', '${day}')`,
  );
  const schema = "CREATE TABLE orders (id INTEGER, name TEXT, city TEXT, amount INTEGER, state TEXT, day TEXT);\n";
  const check = [
    "import hashlib, json, sqlite3, sys",
    'base = sqlite3.connect(":memory:")',
    'base.executescript(open("schema.sql").read() + open("data.sql").read())',
    'rows = [list(row) for row in base.execute(open("query.sql").read())]',
    'found = hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()',
    `if found != "${hash(answer(rows))}":`,
    '    print("The query gives other rows than asked for. Its first rows:", rows[:3])',
    "    sys.exit(1)",
    "",
  ].join("\n");
  const files = {
    "schema.sql": schema,
    "data.sql": `INSERT INTO orders VALUES\n${values.join(",\n")};\n`,
    "check.py": check,
  };
  return {
    name: `sql-${at}`,
    family: "sql",
    task: `Write query.sql: one SQLite query on the table of schema.sql that returns ${words}.`,
    files,
    check: "check.py",
    solution: { "query.sql": query },
  };
}

export function dataTask(at: number): WorkerTask {
  const rows = orders(400 + at, 12);
  const csv = [
    "id,name,city,amount,state",
    ...rows.map(({ id, name, city, amount, state }) => [id, name, city, amount, state].join(",")),
  ].join("\n");
  const [words, lines] = pick<readonly [string, readonly string[]]>(
    [
      [
        "out.csv with the header id,amount and the paid orders, in their order",
        ["id,amount", ...paid(rows).map(({ id, amount }) => `${id},${amount}`)],
      ],
      [
        "out.txt with the names in it, each once, in alphabetical order, one a line",
        [...new Set(rows.map(({ name }) => name))].toSorted(),
      ],
      [
        "out.csv with the header city,total and the sum of amount of each city, ordered by city",
        ["city,total", ...grouped(rows, (row) => row.city).map(([city, own]) => `${city},${sum(own)}`)],
      ],
      [
        "out.csv with the same header and rows, ordered by amount, the largest first, equal amounts by id",
        [
          "id,name,city,amount,state",
          ...rows
            .toSorted((a, b) => b.amount - a.amount || a.id - b.id)
            .map(({ id, name, city, amount, state }) => [id, name, city, amount, state].join(",")),
        ],
      ],
      [
        "out.txt with a line NAME: CITY for each row, in their order, NAME in capitals",
        rows.map(({ name, city }) => `${name.toUpperCase()}: ${city}`),
      ],
    ],
    at,
  );
  const file = words.startsWith("out.csv") ? "out.csv" : "out.txt";
  return {
    name: `data-${at}`,
    family: "data",
    task: `From orders.csv write ${words}.`,
    files: {
      "orders.csv": `${csv}\n`,
      "check.mjs": hashCheck(`text("${file}").trim().split(/\\r?\\n/)`, lines, `${file} is not as asked for.`),
    },
    check: "check.mjs",
    solution: { [file]: `${lines.join("\n")}\n` },
  };
}
