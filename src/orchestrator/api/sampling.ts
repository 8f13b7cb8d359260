import * as z from "zod";

/**
 * The options of sampling, of which settings, profiles, templates, tools and the requests to servers are made. `top_p` is
 * what tools, Ollama and servers with OpenAI's API call `topP`.
 */
const options = {
  temperature: { argument: "temperature", number: z.number().min(0).max(2), about: "Sampling temperature." },
  topP: { argument: "top_p", number: z.number().gt(0).max(1), about: "Nucleus sampling." },
} as const;

type SamplingName = keyof typeof options;

/** As tools call them. */
type SamplingArgument = (typeof options)[SamplingName]["argument"];

/** Options of sampling; absent: what the layer below says. */
export type Sampling = { readonly [Name in SamplingName]?: number };

/** What profiles, settings of models and templates say about answers. */
export interface AnswerOptions extends Sampling {
  readonly maxTokens?: number;
}

export const samplingNames = Object.keys(options) as readonly SamplingName[];

const samplingArgumentNames = samplingNames.map((name) => [name, options[name].argument] as const);

/** For a schema with the names of the settings. An assistant may change these: they only vary answers. */
export const samplingShape = Object.fromEntries(
  samplingNames.map((name) => [
    name,
    options[name].number.optional().meta({ free: "always", description: options[name].about }),
  ]),
) as Readonly<Record<SamplingName, z.ZodOptional<z.ZodNumber>>>;

/** For the input of a tool. Without `isBounded` its values are checked later. */
export function samplingInput(isBounded: boolean): Readonly<Record<SamplingArgument, z.ZodOptional<z.ZodNumber>>> {
  return Object.fromEntries(
    samplingArgumentNames.map(([name, argument]) => [
      argument,
      (isBounded ? options[name].number : z.number()).optional(),
    ]),
  ) as never;
}

/** The options among others. */
export function samplingOf(given: Sampling): Sampling {
  const found: { -readonly [Name in SamplingName]?: number } = {};
  for (const name of samplingNames) if (given[name] !== undefined) found[name] = given[name];
  return found;
}

/** `{ topP: 0.9 }` → `{ top_p: 0.9 }` */
export function samplingArguments(given: Sampling): { readonly [Name in SamplingArgument]?: number } {
  const found: Record<string, number> = {};
  for (const [name, argument] of samplingArgumentNames) if (given[name] !== undefined) found[argument] = given[name];
  return found;
}

/** `{ top_p: 0.9 }` → `{ topP: 0.9 }` */
export function samplingFrom(given: { readonly [Name in SamplingArgument]?: number | undefined }): Sampling {
  const found: { -readonly [Name in SamplingName]?: number } = {};
  for (const [name, argument] of samplingArgumentNames)
    if (given[argument] !== undefined) found[name] = given[argument];
  return found;
}
