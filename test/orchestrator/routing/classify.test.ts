import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { classifyTask } from "../../../src/orchestrator/routing/classify.ts";
import { type ClassifiedTask, classifiedTasks } from "../../../src/orchestrator/api/types.ts";
import { taskPrompts } from "./task-prompts.ts";

type TaskRequest = Parameters<typeof classifyTask>[0];

const requestOf = (written: string | TaskRequest): TaskRequest =>
  typeof written === "string" ? { prompt: written } : written;

const judged = classifiedTasks.flatMap((task) =>
  (taskPrompts[task] as readonly (string | TaskRequest)[]).map((written) => ({ task, request: requestOf(written) })),
);

describe("classifyTask", () => {
  it("takes the task of the request", () => {
    expect(classifyTask({ prompt: "Write a poem", task: "code", images: ["aGk="] })).toEqual({
      task: "code",
      because: "set by the request",
    });
  });

  it("classifies images as vision, and recordings as transcription", () => {
    expect(classifyTask({ prompt: "Fix this function", images: ["aGk="], audio: [] })).toEqual({
      task: "vision",
      because: "the request has images",
    });
    expect(classifyTask({ prompt: "Write a poem", audio: ["a.mp3"] })).toEqual({
      task: "transcription",
      because: "the request has recordings",
    });
  });

  it("finds the class of at least 85% of the prompts written for this test", () => {
    expect(judged.length).toBeGreaterThanOrEqual(200);
    const wrong = judged.filter(({ task, request }) => classifyTask(request).task !== task);
    const list = wrong.map(({ task, request }) => `${task}: ${request.prompt} (${classifyTask(request).because})`);
    expect(1 - wrong.length / judged.length, list.join("\n")).toBeGreaterThanOrEqual(0.85);
  });

  it("is right about half or more of the prompts of every class", () => {
    for (const task of classifiedTasks) {
      const ofTask = judged.filter((each) => each.task === task);
      const right = ofTask.filter(({ request }) => classifyTask(request).task === task);
      expect(right.length / ofTask.length, task).toBeGreaterThanOrEqual(0.5);
    }
  });

  it("states the class, and how sure it is", () => {
    const { task, because } = classifyTask({ prompt: "Translate this letter into German" });
    expect(task).toBe("translation");
    expect(because).toMatch(/^looks like translation \(\d\d% sure\)$/);
  });

  it("takes a prompt without a clear task as general, and says what it may be", () => {
    // The first words of prompts of different classes, mixed.
    const starts = judged.map(({ request }) => request.prompt.split(" ", 2).join(" "));
    const mixed = starts.flatMap((start, at) =>
      [7, 40, 101].map((by) => `${start} ${starts[(at + by) % starts.length]}`),
    );
    const unsure = mixed
      .map((prompt) => classifyTask({ prompt }))
      .filter(({ because }) => because.startsWith("no clear"));
    expect(unsure.length).toBeGreaterThan(0);
    for (const { task, because } of unsure) {
      expect(task).toBe("general");
      expect(because).toMatch(/^no clear task(?:: most like .+ \(\d\d?%\))?$/);
      expect(because).not.toContain("general");
    }
  });

  it("takes no greeting as work on a text: so few words contain none", () => {
    // As many languages and ways as there are in `words`, and those with a verb that asks for one.
    const greetings = [
      "hello",
      "hi all",
      "bonjour",
      "guten Tag",
      "Hallo zusammen",
      "你好",
      "thanks!",
      "merci beaucoup",
    ];
    const asked = ["Say hi", "say hello", "Say hello.", "Say good morning", "Say: ok", "Dis bonjour", "Sag guten Tag"];
    for (const prompt of [...greetings, ...asked]) {
      expect([prompt, classifyTask({ prompt }).task]).toEqual([
        prompt,
        expect.not.stringMatching(/translation|summarization|extraction|transcription|debugging|code_review/),
      ]);
    }
    expect(classifyTask({ prompt: "Translate to German: good morning" }).task).toBe("translation");
    expect(classifyTask({ prompt: "Summarise", fileNames: ["a.md"] }).task).toBe("summarization");
  });

  it.each([
    ["What does this do?", ["/src/main.rs", "/src/lib.rs", "/README.md"], "code"],
    ["What does this do?", ["C:\\src\\Dockerfile"], "code"],
    ["Summarise", ["a.md", "b.txt", "c.md"], "summarization"],
    ["What is said here?", ["interview.mp3"], "transcription"],
  ] as const)("counts file names: %s %s", (prompt, fileNames, task) => {
    expect(classifyTask({ prompt, fileNames }).task).toBe(task);
  });

  it("counts a required format", () => {
    const extractions = (hasFormat: boolean): number =>
      judged.filter(({ request }) => classifyTask({ ...request, hasFormat }).task === "extraction").length;
    expect(extractions(true)).toBeGreaterThan(extractions(false));
  });

  it("examines the beginning and the end of a long prompt", () => {
    const filler = "The sea is deep. ".repeat(100_000);
    const alone = classifyTask({ prompt: filler });
    expect(classifyTask({ prompt: `${filler}\n\nTranslate this text into French.` }).task).toBe("translation");
    expect(classifyTask({ prompt: `Translate this text into French.\n\n${filler}` }).task).toBe("translation");
    expect(classifyTask({ prompt: `${filler} Translate this text into French. ${filler}` })).toEqual(alone);
  });

  it("takes bounded time for hostile text", () => {
    for (const text of [
      "write ".repeat(2000),
      "\n ".repeat(4000),
      "{".repeat(8000),
      "a".repeat(8000),
      ");".repeat(4000),
      "\uD800".repeat(8000),
      "写".repeat(8000),
    ]) {
      const started = performance.now();
      classifyTask({ prompt: text, fileNames: [text] });
      expect(performance.now() - started).toBeLessThan(2_000);
    }
  });

  it("ships at most 150 KB of weights", async () => {
    const file = new URL("../../../src/orchestrator/routing/task-weights.json", import.meta.url);
    expect((await readFile(file)).length).toBeLessThanOrEqual(150 * 1024);
  });
});

/**
 * What the rules that came before this classifier (keywords of German, French and Spanish, source code, names of
 * languages) made of prompts in other languages than English: `before` was recorded from them.
 */
const otherLanguages: readonly (readonly [prompt: string, before: ClassifiedTask, right: ClassifiedTask])[] = [
  ["Schreibe ein Gedicht über den Herbst", "creative", "creative"],
  ["Schreib mir eine kurze Geschichte über einen Leuchtturm", "creative", "creative"],
  ["Erzähle eine Geschichte von einem Fuchs", "creative", "creative"],
  ["Schreib ein Lied über das Meer", "creative", "creative"],
  ["Ein Märchen über einen Schuster, bitte", "creative", "creative"],
  ["Écris un poème sur la pluie", "creative", "creative"],
  ["Écris une histoire de pirates", "general", "creative"],
  ["Escribe una canción de cuna", "creative", "creative"],
  ["Escribe un poema para mi madre", "creative", "creative"],
  ["Escribe un cuento sobre un zorro", "creative", "creative"],
  ["Schreibe eine Python-Funktion, die Primzahlen zählt: def primes(n):", "code", "code"],
  ["Schreibe eine TypeScript-Funktion, die ein Array umdreht", "code", "code"],
  ["Écris une requête SQL pour le script JavaScript", "code", "code"],
  ["Crea una API en Python con una query SQL", "code", "code"],
  ["Erkläre mir diese Zeile: const a = [1].map((x) => x + 1);", "code", "code"],
  ["Ist der Himmel blau? Ja oder nein?", "fast", "fast"],
  ["Kurz: Hauptstadt von Peru?", "fast", "fast"],
  ["Beantworte kurz: Wie heißt der höchste Berg Afrikas?", "fast", "fast"],
  ["Wie wird das Wetter morgen?", "general", "general"],
  ["Guten Morgen!", "general", "general"],
  ["Comment vas-tu ?", "general", "general"],
  ["¿Qué puedo regalar a mi hermana?", "general", "general"],
  ["Come stai oggi?", "general", "general"],
  ["Fasse diesen Bericht zusammen", "general", "summarization"],
  ["Traduis cette lettre en anglais", "general", "translation"],
  ["Traduci questa frase in inglese", "general", "translation"],
  ["Resume este artículo en tres frases", "general", "summarization"],
  ["Wer hat Amerika entdeckt?", "general", "question_answering"],
  ["Scrivi una poesia sull'inverno", "general", "creative"],
  ["Scrivi una funzione che somma due numeri in Python", "general", "code"],
  ["Schreef een gedicht over de zee", "creative", "creative"],
  ["Extrae todos los correos electrónicos del texto", "general", "extraction"],
];

describe("other languages than English", () => {
  it("loses nothing that the rules before it found, and finds more", () => {
    const lost = otherLanguages.filter(
      ([prompt, before, right]) => before === right && right !== "general" && classifyTask({ prompt }).task !== right,
    );
    expect(lost).toEqual([]);
    const found = (task: (prompt: string) => string): number =>
      otherLanguages.filter(([prompt, , right]) => task(prompt) === right).length;
    const now = found((prompt) => classifyTask({ prompt }).task);
    const then = otherLanguages.filter(([, before, right]) => before === right).length;
    expect(now).toBeGreaterThan(then);
  });
});
