import { expect, test } from "vitest";
import * as errors from "../../../src/orchestrator/api/errors.ts";

/** Each class with its facts, as one line. */
const classes = Object.values(errors).flatMap((value) => {
  if (typeof value !== "function" || !("facts" in value)) return [];
  const { code, blames, ...others } = value.facts;
  return [{ name: value.name, code, line: [code, blames, ...Object.keys(others)].join(" ") }];
});

test("each class of errors has a code of its own, by which metrics count it on disk", () => {
  const codes = classes.map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
  for (const { name, code } of classes) {
    if (name !== "OrchestratorError") expect(code.replaceAll("_", "")).toBe(name.toLowerCase());
  }
});

test("says what an error blames, and what is true of it, once", () => {
  expect(classes.map(({ line }) => line)).toMatchInlineSnapshot(`
    [
      "other machine",
      "unknown_model request mayOtherAnswer isAbsence",
      "engine_unreachable engine mayOtherAnswer startsCoolDown isDown",
      "connection_lost engine mayOtherAnswer startsCoolDown isDown",
      "engine_not_installed engine mayOtherAnswer startsCoolDown",
      "model_does_not_fit machine mayOtherAnswer isAboutSize",
      "queue_full machine mayOtherAnswer",
      "load_failed model mayOtherAnswer startsCoolDown",
      "out_of_memory machine mayOtherAnswer startsCoolDown",
      "card_failed machine mayOtherAnswer startsCoolDown",
      "unload_unconfirmed engine",
      "generation_failed model mayOtherAnswer startsCoolDown evidence",
      "check_failed model mayOtherAnswer evidence",
      "unsupported_capability request mayOtherAnswer",
      "prompt_too_long request mayOtherAnswer isAboutSize",
      "invalid_config request",
      "unknown_job request isAbsence isCorrectable",
      "unknown_memory request isAbsence",
      "unknown_template request isAbsence isCorrectable",
      "unknown_comparison request isAbsence",
      "store_failed machine",
      "daemon_unavailable machine",
      "invalid_request request isMisuse isCorrectable",
      "unknown_conversation request isMisuse isCorrectable",
      "conversation_busy request isMisuse isCorrectable",
      "privacy_locked request",
      "budget_exceeded request mayOtherAnswer",
      "pull_failed machine",
      "cancelled request isCorrectable",
    ]
  `);
});

test("a subclass has the facts of its base, but for those of its own", () => {
  expect(new errors.OutOfMemory("x").facts).toEqual({
    ...errors.LoadFailed.facts,
    code: "out_of_memory",
    blames: "machine",
  });
});
