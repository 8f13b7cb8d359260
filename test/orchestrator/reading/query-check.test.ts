import { describe, expect, it } from "vitest";
import { doubtsOf, namedIn, typeProblem, withDays, withTable } from "../../../src/orchestrator/reading/query-check.ts";
import { tablesOf } from "../../../src/orchestrator/reading/table.ts";

const tables = tablesOf([
  {
    path: "sales.csv",
    text: "at,day,who,city,amount,currency\n2024-03-31 10:00,2024-03-31,Ann,Linz,5,EUR\n2025-04-01 09:00,2025-04-01,Bob,Graz,7,USD\n",
  },
]);
const named = namedIn(tables);
const doubts = (question: string, sql: string) => doubtsOf(question, sql, tables);

describe("a query that runs", () => {
  it.each([
    ["SELECT 1 FROM sales WHERE at <= '2024-03-31'", "SELECT 1 FROM sales WHERE date(at) <= '2024-03-31'"],
    ["SELECT 1 FROM sales s WHERE s.at = '2024-03-31'", "SELECT 1 FROM sales s WHERE date(s.at) = '2024-03-31'"],
    [
      "SELECT 1 FROM sales WHERE at BETWEEN '2024-03-01' AND '2024-03-31'",
      "SELECT 1 FROM sales WHERE date(at) BETWEEN '2024-03-01' AND '2024-03-31'",
    ],
    ["SELECT 1 FROM sales WHERE (at <= '2024-03-31')", "SELECT 1 FROM sales WHERE (date(at) <= '2024-03-31')"],
    ["SELECT 1 FROM sales WHERE day <= '2024-03-31'", "SELECT 1 FROM sales WHERE day <= '2024-03-31'"],
    ["SELECT 1 FROM sales WHERE date(at) <= '2024-03-31'", "SELECT 1 FROM sales WHERE date(at) <= '2024-03-31'"],
    ["SELECT 1 FROM sales WHERE at <= '2024-03-31 12:00'", "SELECT 1 FROM sales WHERE at <= '2024-03-31 12:00'"],
  ])("compares a time with a day as that day: %s", (sql, expected) => {
    expect(withDays(sql, named)).toBe(expected);
  });

  it.each([
    ["SELECT 1 FROM Orders WHERE Orders.who = 'Orders'", "SELECT 1 FROM sales WHERE sales.who = 'Orders'"],
    ["SELECT o.who FROM Orders AS o", "SELECT o.who FROM sales AS o"],
    ["WITH x AS (SELECT 1 FROM Orders) SELECT * FROM x", "WITH x AS (SELECT 1 FROM sales) SELECT * FROM x"],
    ["SELECT 1 FROM sales", "SELECT 1 FROM sales"],
    ["SELECT 1 FROM a JOIN b", "SELECT 1 FROM a JOIN b"],
  ])("reads the only table, whatever it calls it: %s", (sql, expected) => {
    expect(withTable(sql, tables)).toBe(expected);
  });

  it.each([
    ["SELECT SUM(who) FROM sales", "who is text"],
    ["SELECT AVG(s.day) FROM sales s", "day is text"],
    ["SELECT 1 FROM sales WHERE who >= 500", "can't be compared with 500"],
    ["SELECT at - day FROM sales", "julianday(at) - julianday(day)"],
    ["SELECT 1 FROM sales WHERE strftime('%Y', day) = 2025", "compare it with '2025'"],
    ["SELECT 1 FROM sales WHERE strftime('%m', day) = '4'", "compare it with '04'"],
  ])("and is wrong without an error is refused: %s", (sql, problem) => {
    expect(typeProblem(sql, named)).toContain(problem);
  });

  it.each([
    "SELECT SUM(amount), AVG(who = 'Ann'), COUNT(who) FROM sales WHERE strftime('%m', day) = '04' AND amount > 3",
    "SELECT MAX(day) FROM sales WHERE who > 'A' AND day >= '2024-01-01'",
    "SELECT SUM(CAST(who AS REAL)) FROM sales",
  ])("is not refused for nothing: %s", (sql) => {
    expect(typeProblem(sql, named)).toBeUndefined();
  });

  it.each([
    ["What is the average amount?", "SELECT SUM(amount), currency FROM sales GROUP BY currency", "asks for an average"],
    ["How many different cities are there?", "SELECT COUNT(city) FROM sales", "asks for different ones"],
    ["Who sold the most?", "SELECT who FROM sales ORDER BY amount LIMIT 1", "asks for the highest"],
    ["What was the lowest amount?", "SELECT MAX(amount) FROM sales", "asks for the lowest"],
    ["How many sales in March?", "SELECT COUNT(*) FROM sales", "no condition on month 03"],
    [
      "Wie viele Verkäufe gab es im März 2025?",
      "SELECT COUNT(*) FROM sales WHERE month(day) = 3",
      "no condition on 2025",
    ],
    ["How many sales had Ann?", "SELECT COUNT(*) FROM sales", "no condition on 'Ann' (who)"],
    ["How much was sold in all?", "SELECT SUM(amount) FROM sales", "it adds up EUR, USD: group by currency"],
    [
      "How many are older than 10 days?",
      "SELECT COUNT(*) FROM sales WHERE julianday('now') - julianday(day) > 10",
      "today",
    ],
    [
      "What was the highest single amount?",
      "SELECT SUM(amount) AS s, currency FROM sales GROUP BY currency ORDER BY s DESC LIMIT 1",
      "a single row",
    ],
  ])("and may not ask what was asked is doubted: %s", (question, sql, doubt) => {
    expect(doubts(question, sql)).toEqual([expect.stringContaining(doubt)]);
  });

  it("that reads one of the tables that the question names is doubted", () => {
    const both = tablesOf([
      { path: "shop_orders.csv", text: "id,who\n1,5\n" },
      { path: "customers.csv", text: "who,kind\n5,x\n" },
    ]);
    expect(doubtsOf("How many orders came from customers?", "SELECT COUNT(*) FROM customers", both)).toEqual([
      "it does not read shop_orders",
    ]);
  });

  it("needs no condition on a year that all rows have in one of their dates", () => {
    const text = "booked,value\n2025-12-30,2025-12-30\n2025-12-31,2026-01-01\n";
    const bank = tablesOf([{ path: "bank.csv", text }]);
    expect(doubtsOf("How many bookings in 2025?", "SELECT COUNT(*) FROM bank", bank)).toEqual([]);
    expect(doubtsOf("How many bookings in 2026?", "SELECT COUNT(*) FROM bank", bank)).toHaveLength(1);
  });

  it("is compared with values of any characters", () => {
    const values = ["a-b/c", "(x", "[y", "{2}", "a|b", "*?+", "^$", "O'Neil & Co.", "\\d"];
    const odd = tablesOf([{ path: "t.csv", text: `who,n\n${values.map((value) => `"${value}",1`).join("\n")}\n` }]);
    for (const value of values) expect(() => doubtsOf(`How many for ${value}?`, "SELECT n FROM t", odd)).not.toThrow();
    expect(doubtsOf("How many has a-b/c?", "SELECT COUNT(*) FROM t", odd)).toEqual([
      "it has no condition on 'a-b/c' (who)",
    ]);
  });

  it.each([
    ["What is the average amount in EUR?", "SELECT AVG(amount) FROM sales WHERE currency = 'EUR'"],
    [
      "Who sold the most in 2024?",
      "SELECT who FROM sales WHERE strftime('%Y', day) = '2024' ORDER BY amount DESC LIMIT 1",
    ],
    ["How many sales were in EUR?", "SELECT SUM(CASE WHEN currency = 'EUR' THEN 1 ELSE 0 END) FROM sales"],
    ["How many sales may be late?", "SELECT COUNT(*) FROM sales"],
    ["How many sales in March?", "SELECT COUNT(*) FROM sales WHERE day LIKE '%-03-%'"],
    ["In welcher Stadt war der Betrag am niedrigsten?", "SELECT city FROM sales ORDER BY amount ASC LIMIT 1"],
  ])("is not doubted for nothing: %s", (question, sql) => {
    expect(doubts(question, sql)).toEqual([]);
  });
});
