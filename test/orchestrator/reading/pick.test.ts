import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  asksOnePlace,
  isNotFound,
  pickPieces as pickFrom,
  pickSizes,
  rankByWords,
} from "../../../src/orchestrator/reading/one-place.ts";
import { splitTexts } from "../../../src/orchestrator/reading/split-text.ts";
import { estimateTokens } from "../../../src/orchestrator/routing/tokens.ts";
import { labelledQuestions } from "./pick-questions.ts";

const notThere = "NOT IN THESE PARTS";

const isPlace = (prompt: string): boolean => asksOnePlace({ prompt });

type Pieces = Parameters<typeof pickFrom>[2];
const pickPieces = (question: string, pieces: Pieces, maxTokens: number) =>
  pickFrom(rankByWords(question, pieces), [], pieces, maxTokens);

function piece(headings: readonly string[], text: string, path = "guide.md"): Pieces[number] {
  return { passages: [{ path, headings, text }], tokens: 10 };
}
/** Which of the pieces comes first, where only one fits. */
const best = (question: string, pieces: Pieces): number | undefined => pickPieces(question, pieces, 40)[0];

describe("what a request asks of its files", () => {
  it.each([
    "What is the port in section 3?",
    "what is the port in section 3",
    "Where is the token kept?",
    "Tell me which port the server listens on.",
    "In welchem Abschnitt steht der Port?",
    "Wie hoch ist die Kündigungsfrist",
    "Quel est le port par défaut ?",
    "¿Cuál es el puerto predeterminado?",
    "Qual è la porta predefinita?",
    "Qual é a porta predefinida?",
    "Wat is de standaardpoort?",
    "Please, what is the port? Answer with the number only.",
    "Could you tell me what the port is?",
    'What does the message "no port is free" mean?',
  ])("is in one place: %s", (prompt) => {
    expect(isPlace(prompt)).toBe(true);
  });

  it.each([
    "Summarise this.",
    "Can you summarise these files?",
    "What are the main points?",
    "What is this document about?",
    "List all settings.",
    "Which ports are named?",
    "What ports are named in section 3?",
    "Does the daemon exit when it is idle?",
    "What is there to say about the port?",
    "What is the port? Why was it changed?",
    "What kinds of files can be read?",
    "Welche Ports gibt es?",
    "Quels ports sont ouverts ?",
    "Which settings are there in total?",
    "What is missing in this contract?",
    "How many times is the daemon mentioned?",
    "Translate this into German.",
    "Review this code.",
    "Extract the names of all people.",
    "Worum geht es in diesem Text?",
    "Welche Unterschiede gibt es?",
    "Fasse den Text zusammen.",
    "Peux-tu résumer ce texte ?",
    "Quels sont tous les ports ?",
    "¿Cuáles son todos los puertos?",
    "Di cosa parla il testo?",
    "Quais são as diferenças?",
    "Waar gaat deze tekst over?",
    "Write release notes.",
    "Where? When? Who? Why?",
    `Why does this fail? ${"It prints a long log. ".repeat(40)}`,
  ])("needs all of them: %s", (prompt) => {
    expect(isPlace(prompt)).toBe(false);
  });

  it("needs all of them if its task or a prescribed form does", () => {
    const prompt = "Which port does it use?";
    expect(asksOnePlace({ prompt })).toBe(true);
    expect(asksOnePlace({ prompt, task: "summarization" })).toBe(false);
    expect(asksOnePlace({ prompt, format: "json" })).toBe(false);
  });
});

describe("questions in five languages", () => {
  /** `place` asks for one value, `whole` for what any part of a text may add to. */
  const asked = readFileSync(new URL("scope-questions.txt", import.meta.url), "utf8").split(/\r?\n/);
  const share = (scope: "place" | "whole") => {
    const questions = asked.filter((line) => line.startsWith(scope)).map((line) => line.slice(scope.length + 1));
    const wrong = questions.filter((question) => isPlace(question) !== (scope === "place"));
    return { wrong, of: questions.length, share: wrong.length / questions.length };
  };

  it("that need the whole text go to passages in at most 2 % of the cases", () => {
    const { wrong, of, share: missed } = share("whole");
    expect(of).toBeGreaterThan(100);
    expect(missed, wrong.join("\n")).toBeLessThanOrEqual(0.02);
  });

  it("that ask for one value go to the whole text in at most 10 % of the cases", () => {
    const { wrong, of, share: missed } = share("place");
    expect(of).toBeGreaterThan(100);
    expect(missed, wrong.join("\n")).toBeLessThanOrEqual(0.1);
  });
});

describe("the pieces that answer a question", () => {
  const filler = (count: number) => Array.from({ length: count }, (_, at) => piece([`Part ${at}`], "port ".repeat(30)));

  it("are those of the section that it names, by number, numeral or name, with the sections below", () => {
    const pieces = [
      piece(["Guide", "2 Limits"], "A file may be large."),
      piece(["Guide", "3 Network"], "It listens on 7411."),
      piece(["Guide", "3.2 Proxies"], "A proxy forwards."),
      piece(["Guide", "13 Notes"], "It listens on nothing. The port. Section."),
      piece(["Guide"], "Intro.\n## Chapter IV: Logs\nThey rotate."),
      piece(["Guide", "Appendix B"], "Licences."),
    ];
    expect(pickPieces("What is the port in section 3?", pieces, 75)).toEqual([1, 2]);
    expect(best("What does §3.2 say?", pieces)).toBe(2);
    expect(best("Was steht in Abschnitt 2?", pieces)).toBe(0);
    expect(best("What happens in chapter three?", pieces)).toBe(1);
    expect(best("What happens in chapter four?", pieces)).toBe(4);
    expect(best("What does appendix B hold?", pieces)).toBe(5);
  });

  it("are those of the file that it names", () => {
    const pieces = [
      piece([], "the limit is 5, the limit of limits", "docs/a.md"),
      piece([], "the limit is 7", "docs/ab.md"),
    ];
    expect(best("What is the limit?", pieces)).toBe(0);
    expect(best("What is the limit in ab.md?", pieces)).toBe(1);
  });

  it("are those with its identifiers, rather than with more of its plain words", () => {
    const pieces = [...filler(20), piece(["Options"], "`--max_tokens` defaults to 512")];
    expect(best("Which port is used for --max_tokens?", pieces)).toBe(20);
    expect(best("Where is 10.0.0.5 used as port?", [...filler(20), piece([], "10.0.0.5 is the gateway")])).toBe(20);
  });

  it("are those that rank high by words and by meaning, a named section first", () => {
    const pieces = [
      piece(["1 Costs"], "the flat costs money, the flat, the flat"),
      piece(["2 Rent"], "You pay 900 euros each month."),
      piece(["3 Pets"], "No dogs."),
    ];
    const near = (question: string, order: readonly number[], maxTokens: number) =>
      pickFrom(rankByWords(question, pieces), order, pieces, maxTokens);
    expect(near("What does the flat cost?", [1], 80)).toEqual([0, 1]);
    expect(near("Who is the landlord?", [1], 80)).toEqual([1]);
    expect(near("What is the rule in section 3?", [1, 0], 40)).toEqual([2]);
  });

  it("are as many as fit, in the order of the files; none without a common word", () => {
    const pieces = [
      piece([], "gold price"),
      piece([], "silver"),
      piece([], "price of gold gold gold"),
      piece([], "gold"),
    ];
    expect(pickPieces("What is the price of gold?", pieces, 80)).toEqual([0, 2]);
    expect(pickPieces("What is the price of gold?", pieces, 1000)).toEqual([0, 2, 3]);
    expect(pickPieces("Who invented zippers?", pieces, 1000)).toEqual([]);
  });
});

describe("120 kB of this repository's documentation", () => {
  const paths = [...new Set(labelledQuestions.map(([, path]) => path))];
  const sources = paths.map((path) => ({
    path,
    text: readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8").replaceAll("\r\n", "\n"),
  }));
  // A page that is rewritten may lose the words of a few labels.
  const labels = labelledQuestions.filter(([, file, place]) =>
    sources.some(({ path, text }) => path === file && text.includes(place)),
  );

  it("has at least 60 labelled questions", () => {
    expect(sources.reduce((bytes, { text }) => bytes + Buffer.byteLength(text), 0)).toBeGreaterThan(110_000);
    expect(labels.length).toBeGreaterThanOrEqual(Math.max(60, labelledQuestions.length - 5));
  });

  it("is searched so that 95 % of the places are among 4,000 tokens", () => {
    const pieces = splitTexts(sources, {
      maxTokens: pickSizes.pieceTokens,
      frameTokens: 0,
      keepsSections: true,
      countTokens: (text) => estimateTokens(text),
    });
    const missed = labels.filter(([question, file, place]) => {
      const picked = new Set(pickPieces(question, pieces, pickSizes.maxTokens));
      return !pieces.some(
        ({ passages }, at) =>
          picked.has(at) && passages.some(({ path, text }) => path === file && text.includes(place)),
      );
    });
    expect(1 - missed.length / labels.length, JSON.stringify(missed)).toBeGreaterThanOrEqual(0.95);
  });
});

describe("an answer that found nothing", () => {
  it.each([
    "",
    notThere,
    "Not in these parts.",
    "The port is not mentioned in the text.",
    "The documents do not contain this information.",
    "I can't find the answer.",
  ])("is recognized: %s", (answer) => {
    expect(isNotFound(answer)).toBe(true);
  });

  it.each([
    "7411",
    "The file is not found: that is what the error means, and it is fixed by ...".padEnd(300, "."),
    "No.",
  ])("is not: %s", (answer) => {
    expect(isNotFound(answer)).toBe(false);
  });
});
