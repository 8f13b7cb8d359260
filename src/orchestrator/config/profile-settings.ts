import { samplingShape } from "../api/sampling.ts";
import * as z from "zod";
import { invisible } from "../util/control-characters.ts";

/** A setting: what an assistant may do to it and where it applies (`GlobalMeta`), its type with its default, and what it means. */
export function setting<Type extends z.ZodType>(meta: z.GlobalMeta, type: Type, description: string): Type {
  return type.meta({ ...meta, description });
}

/** A section, which may be left out: its settings have defaults or are optional. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape).prefault({} as never);
}

/** Letters, digits, - and _, a letter first. */
export const profileName = z.string().regex(/^[A-Za-z][\w-]{0,63}$/, "write letters, digits, - and _, a letter first");

/** A name or a line that people and models read: nothing in it is hidden or reorders the text around it. */
export const visibleText = z.string().superRefine((text, context) => {
  const [hidden] = text.match(invisible) ?? [];
  if (hidden === undefined) return;
  const code = hidden.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0") ?? "";
  context.addIssue({ code: "custom", message: `it contains the invisible or control character U+${code}` });
});
const modelNames = z.array(visibleText.trim().min(1).max(300)).min(1).max(20);

/** Those that a profile and a model may have. */
export const thresholds = {
  maxLatencyMs: setting(
    { free: "ifLocal" },
    z.number().min(1).optional(),
    "A first token that takes longer is reported, and models measured to be slower are tried last.",
  ),
  minSuccessRate: setting(
    { free: "ifLocal" },
    z.number().gt(0).max(1).optional(),
    "A smaller share of answered requests, from 0 to 1, is reported, and models below it are tried last.",
  ),
};

/** One profile, in the settings and in the file of a project; bounded, because that file may be a stranger's. */
export const profileSettings = z.strictObject({
  description: visibleText.trim().min(1).max(200).optional().describe("What it is for, in a few words."),
  extends: setting({ free: "ifLocal" }, profileName.optional(), "Profile that gives what this one leaves out."),
  models: setting({ free: "ifLocal" }, modelNames.optional(), "Preferred models, best first, before all families."),
  families: setting(
    { free: "ifLocal" },
    z.array(visibleText.trim().min(1).max(60)).max(20).optional(),
    "Preferred families, best first; [] for any. A profile that extends none is for models of these families and models alone.",
  ),
  needs: setting(
    { free: "ifLocal" },
    z
      .array(z.enum(["tools", "insert", "vision", "thinking", "audio"]))
      .min(1)
      .optional(),
    "Capabilities of the models that match.",
  ),
  contextTokens: setting(
    { free: "ifLocal" },
    z.number().int().min(256).optional(),
    "Smallest context window of a model that matches.",
  ),
  ...samplingShape,
  maxTokens: setting({ free: "ifLocal" }, z.number().int().min(1).optional(), "Maximum tokens of one answer."),
  system: z.string().trim().min(1).max(16_000).optional().describe("System prompt of requests without one."),
  fallback: setting(
    { free: "ifLocal" },
    z.union([profileName, modelNames]).optional(),
    "Profile, or list of models, to try when no model matches.",
  ),
  ...thresholds,
  templates: z.array(visibleText.trim().min(1).max(100)).min(1).max(20).optional().describe("Templates for this work."),
});
