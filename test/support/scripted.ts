/** What a fake model answers to one request. */
export interface ScriptedAnswer {
  readonly thinking?: string;
  readonly text?: string;
  /** `arguments` as a text is sent as it is, whatever it is. */
  readonly calls?: readonly { readonly name: string; readonly arguments: unknown }[];
  /** In place of the real counts. */
  readonly usage?: { readonly promptTokens?: number; readonly completionTokens?: number };
}

/** A request as a fake server received it. */
export interface ScriptedRequest {
  /** The text of the last message. */
  readonly prompt: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  /** Answers of the assistant in the conversation. */
  readonly turn: number;
  /** Earlier requests to the model. */
  readonly count: number;
  readonly tools: readonly { readonly name: string; readonly parameters: unknown }[];
  /** OpenAI's: Ollama has none. */
  readonly toolChoice?: unknown;
}

/** Answers by number of the request, of which the last one stays; or by what is asked. Undefined: the usual answer. */
export type Script = readonly ScriptedAnswer[] | ((request: ScriptedRequest) => ScriptedAnswer | undefined);

interface Tool {
  readonly function?: { readonly name?: unknown; readonly parameters?: unknown };
}

/** Reads a request's body, in either protocol. */
export function scriptedRequest(body: Readonly<Record<string, unknown>>, count: number): ScriptedRequest {
  const messages = ((body["messages"] ?? []) as readonly { readonly role?: unknown; readonly content?: unknown }[]).map(
    ({ role, content }) => ({ role: String(role), content: contentOf(content) }),
  );
  const tools = ((body["tools"] ?? []) as readonly Tool[]).map((tool) => ({
    name: String(tool.function?.name),
    parameters: tool.function?.parameters,
  }));
  return {
    prompt: messages.at(-1)?.content ?? "",
    messages,
    turn: messages.filter(({ role }) => role === "assistant").length,
    count,
    tools,
    toolChoice: body["tool_choice"],
  };
}

function contentOf(content: unknown): string {
  if (!Array.isArray(content)) return typeof content === "string" ? content : "";
  return (content as readonly { readonly text?: unknown }[])
    .map(({ text }) => (text as string | undefined) ?? "")
    .join("\n");
}

/**
 * By the script; without one a call of each tool that the prompt names, in its order, with the JSON object after the name or with
 * what its schema wants. A required call is of the first tool unless one is named. Undefined: the usual answer.
 */
export function scriptedAnswer(script: Script | undefined, request: ScriptedRequest): ScriptedAnswer | undefined {
  if (script !== undefined)
    return typeof script === "function" ? script(request) : (script[request.count] ?? script.at(-1));
  const { toolChoice, prompt, messages } = request;
  const { name: chosen } =
    (toolChoice as { readonly function?: { readonly name: string } } | undefined)?.function ?? {};
  const tools = request.tools.filter(({ name }) => chosen === undefined || name === chosen);
  if (tools.length === 0 || toolChoice === "none") return undefined;
  if (messages.at(-1)?.role === "tool") return { text: `The tool says: ${prompt}` };
  const named = tools
    .flatMap((tool) =>
      [...prompt.matchAll(new RegExp(`\\b${tool.name}\\b`, "g"))].map(({ index }) => ({ tool, index })),
    )
    .toSorted((a, b) => a.index - b.index);
  const mustCall = toolChoice === "required" || chosen !== undefined;
  const [first] = tools;
  if (named.length === 0 && mustCall && first) named.push({ tool: first, index: prompt.length });
  const calls = named.map(({ tool, index }, at) => {
    const after = prompt.slice(index, named[at + 1]?.index);
    return { name: tool.name, arguments: objectIn(after) ?? instanceOf(tool.parameters) };
  });
  return calls.length === 0 ? undefined : { calls };
}

/** The first object of JSON in a text. */
function objectIn(text: string): unknown {
  const json = text.includes("{") ? text.slice(text.indexOf("{")) : "";
  for (let end = json.indexOf("}"); end !== -1; end = json.indexOf("}", end + 1)) {
    try {
      return JSON.parse(json.slice(0, end + 1));
    } catch {
      // It ends later.
    }
  }
  return undefined;
}

/** Returns a minimal value for the common keywords of a JSON schema. */
export function instanceOf(schema: unknown): unknown {
  if (typeof schema !== "object" || schema === null) return null;
  const rules = schema as Record<string, unknown>;
  if ("const" in rules) return rules["const"];
  if (Array.isArray(rules["enum"])) return rules["enum"][0];
  if (Array.isArray(rules["anyOf"])) return instanceOf(rules["anyOf"][0]);
  switch (rules["type"]) {
    case "object": {
      const properties = (rules["properties"] ?? {}) as Record<string, unknown>;
      return Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, instanceOf(inner)]));
    }
    case "array":
      return rules["items"] === undefined ? [] : [instanceOf(rules["items"])];
    case "integer":
    case "number":
      return typeof rules["minimum"] === "number" ? rules["minimum"] : 1;
    case "boolean":
      return true;
    case "null":
      return null;
    default:
      return "red";
  }
}
