import { expect, test } from "vitest";
import type { Chat } from "../../../src/orchestrator/api/chat.ts";
import { createChatHomes, steadyMessages } from "../../../src/orchestrator/generation/chat-prefix.ts";
import { chooseCopy, chooseReplica } from "../../../src/orchestrator/generation/copies.ts";

const chatOf = (system: string, user = "hi", movesDates = false): Chat => ({
  messages: [
    { role: "system", content: system },
    { role: "user", content: user },
  ],
  sampling: {},
  movesDates,
});
const systemOf = (chat: Chat) => steadyMessages(chat).find(({ role }) => role === "system")?.content;

test("what differs with each request leaves the system prompt, and nothing else does", () => {
  const header = "x-anthropic-billing-header: cc_version=2.1.197.c4a; cc_entrypoint=cli; cch=9a3f1;";
  expect(systemOf(chatOf(`${header}\nYou are a coding agent.\n`))).toBe("You are a coding agent.\n");
  expect(steadyMessages(chatOf(header))).toEqual([{ role: "user", content: "hi" }]);
  const plain = chatOf("Headers such as x-request-id are kept.\nToday's date is 2026-11-24.");
  expect(steadyMessages(plain)).toEqual(plain.messages);
  const quoted = chatOf("You are helpful.", header);
  expect(steadyMessages(quoted)).toEqual(quoted.messages);
});

test.each([
  ["<env>\nToday's date: 2026-11-24\nOS: linux\n</env>", "<env>\nOS: linux\n</env>\nToday's date: 2026-11-24"],
  ["The current time is 14:03.\nRules: be brief.", "Rules: be brief.\nThe current time is 14:03."],
  ["Today is November 24, 2026.\nBe brief.", "Be brief.\nToday is November 24, 2026."],
  ["Version 2026-11-24 of the rules.\nBe brief.", "Version 2026-11-24 of the rules.\nBe brief."],
  ["Sort by date.\nBe brief.", "Sort by date.\nBe brief."],
])("where the user allows it, the day and the time stand at the end: %j", (system, steady) => {
  expect(systemOf(chatOf(system, "hi", true))).toBe(steady);
  expect(systemOf(chatOf(system))).toBe(system);
});

test("a conversation is known again by its beginning, on another day and with other headers", () => {
  const homes = createChatHomes();
  const turn = (cch: string, day: string, user = "fix the bug"): Chat => {
    const chat = chatOf(`x-anthropic-billing-header: cch=${cch};\nBe brief.\nToday's date: ${day}`, user);
    return { ...chat, messages: [...chat.messages, { role: "assistant", content: cch }] };
  };
  homes.answered(turn("a", "2026-11-24"), { model: "m", engine: "e" });
  expect(homes.of(turn("b", "2026-11-24"))).toEqual({ model: "m", engine: "e" });
  expect(homes.of(turn("b", "2026-11-24", "another bug"))).toBeUndefined();
  for (let index = 0; index < 300; index += 1) homes.answered(chatOf("s", String(index)), { model: "m", engine: "e" });
  expect(homes.of(turn("b", "2026-11-24"))).toBeUndefined();
});

test("a server that has the prefix may be one answer later, not two", () => {
  const loaded = { parallel: 1, isLoaded: true, loadMs: 0 };
  const held = (assigned: number) =>
    chooseCopy(
      [
        { ...loaded, assigned: 0 },
        { ...loaded, assigned, hasPrefix: true },
      ],
      1000,
    );
  expect([held(0), held(1), held(2)]).toEqual([1, 0, 0]);
  const replica = (reported: number) =>
    chooseReplica([
      { assigned: 0, reported: 0 },
      { assigned: 0, reported, hasPrefix: true },
    ]);
  expect([replica(0), replica(1), replica(2)]).toEqual([1, 0, 0]);
});
