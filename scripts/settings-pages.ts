import * as z from "zod";
import { flagValues, shortNames } from "../src/orchestrator/config/environment.ts";
import { type SettingPath, formatPath, pathsInRecord, settingPaths } from "../src/orchestrator/config/paths.ts";
import { allowedText, schemaNodeAt } from "../src/orchestrator/config/problems.ts";
import { settingsSchema } from "../src/orchestrator/config/schema.ts";

type SchemaNode = NonNullable<ReturnType<typeof schemaNodeAt>>;

/** Files generated from the settings schema: the JSON Schema for editors, the commented example, the reference. */

/** Values for the example where the default is absent or empty. */
const examples: Readonly<Record<string, unknown>> = {
  "model.default": "qwen3:4b-instruct",
  "model.provider": "ollama",
  "model.judge": "qwen3:14b",
  "model.routing.overrides": { code: "qwen2.5-coder:7b" },
  "model.keepAlive.models": ["qwen2.5*"],
  "model.keepAlive.preload": ["qwen3:4b-instruct"],
  profiles: {
    legal: {
      description: "contracts and terms",
      extends: "text",
      models: ["qwen3:4b-instruct"],
      families: ["llama", "qwen"],
      needs: ["tools"],
      contextTokens: 16_384,
      temperature: 0.1,
      topP: 0.9,
      maxTokens: 2048,
      system: "Quote the clause that each statement relies on.",
      fallback: "general",
      maxLatencyMs: 5000,
      minSuccessRate: 0.9,
      templates: ["summary"],
    },
  },
  models: {
    "qwen2.5*": {
      options: { temperature: 0.2, topP: 0.9, maxTokens: 2048 },
      contextTokens: 16_384,
      keepAlive: 3600,
      sizeBytes: 5_000_000_000,
      maxParallel: 2,
      system: "Answer briefly.",
      maxLatencyMs: 10_000,
      minSuccessRate: 0.8,
    },
  },
  "options.topP": 0.9,
  "http.doors": ["openai", "anthropic"],
  "http.upstreams.anthropic": "https://api.anthropic.com",
  "http.upstreams.openai": "https://api.openai.com",
  "http.ollamaPort": 11_434,
  "http.modelNames": { "gpt-4o*": "ollm/auto", "claude-haiku-*": "ollm/fast" },
  "providers.ollama.hosts": [
    "http://box.lan:11434",
    { host: "http://attic.lan:11434", memoryBytes: 16_000_000_000, parallel: 4 },
  ],
  "providers.ollama.memoryBytes": 8_000_000_000,
  "providers.ollama.parallel": 4,
  "providers.ollama.options.numCtx": 8192,
  "providers.llamaCpp.threads": 4,
  "providers.llamaCpp.backend": "vulkan",
  "providers.openai": [
    {
      id: "kimi",
      kind: "cloud",
      baseUrl: "https://api.moonshot.ai/v1",
      apiKeyFile: "~/.ollm/kimi.key",
      models: ["kimi-k2-0905-preview"],
      prices: {
        inputPerMillion: 0.6,
        cachedInputPerMillion: 0.15,
        outputPerMillion: 2.5,
        currency: "USD",
        date: "2026-11-22",
      },
      monthlyBudget: 10,
    },
  ],
  "store.path": "/data/models",
  "store.promptCacheBytes": 4_000_000_000,
  "memory.maxBytes": 12_000_000_000,
  "memory.availableBytes": 8_000_000_000,
  "queue.maxWaitMs": 120_000,
  "files.roots": ["/home/me/notes"],
  checks: { python: { command: ["/usr/bin/python3", "-m", "py_compile"], file: "answer.py", timeout: 10 } },
  "training.tasks": ["code", "summarization"],
  workers: { tests: { verify: ["npm", "test"], timeout: 120, tools: ["read", "grep", "list", "edit", "write"] } },
  "tools.enabled": ["route_and_generate", "list_models"],
  "tools.disabled": ["pull_model"],
  "savings.promptPerMillion": 2.5,
  "savings.answerPerMillion": 12,
  "http.allowedOrigins": ["https://box.lan:7411"],
  "http.allowedHosts": ["box.lan:7411"],
  "network.allowedHosts": ["box.lan:11434"],
};

/** `schemas/settings.schema.json`, for editors. Allows sections without keys, as config.yaml does. */
export function settingsJsonSchema(): string {
  const schema = z.toJSONSchema(settingsSchema, {
    io: "input",
    target: "draft-7",
    override({ jsonSchema }) {
      delete jsonSchema["scope"];
      delete jsonSchema["free"];
      delete jsonSchema["separator"];
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.type === "object" && jsonSchema.properties !== undefined) {
        // `draft-7` allows a list of types, which zod's type lacks.
        Object.assign(jsonSchema, { type: ["object", "null"] });
        if (JSON.stringify(jsonSchema.default) === "{}") delete jsonSchema.default;
      }
    },
  });
  return `${JSON.stringify({ title: "config.yaml of ollm-mcp", ...schema }, undefined, 2)}\n`;
}

/** `config.example.yaml`: every setting as a comment, `#key: value`, with its meaning, allowed values and default. */
export function exampleYaml(): string {
  const lines = [
    "# yaml-language-server: $schema=./schemas/settings.schema.json",
    "#",
    "# Every setting of ollm-mcp. To change one, copy it to config.yaml in OLLM_HOME (~/.ollm) without its #, or run",
    '# "ollm config set PATH VALUE". OLLM_* variables override the file, and flags override variables; docs/settings.md',
    "# lists them.",
  ];
  let before: readonly string[] = [];
  for (const setting of settingPaths(settingsSchema)) {
    const { path } = setting;
    const shared = sharedLength(path, before);
    if (path[0] !== before[0]) lines.push("");
    for (let depth = shared; depth < path.length - 1; depth += 1) lines.push(`${"  ".repeat(depth)}${path[depth]}:`);
    before = path;
    const indent = "  ".repeat(path.length - 1);
    const { description, defaults } = rowOf(setting);
    const about = `${description} Allowed: ${allowedIn(nodeAt(path), setting)}. Default: ${defaults}.`;
    lines.push(...wrapped(about, 118 - indent.length).map((line) => `${indent}# ${line}`));
    if (setting.type === "entryList" || isOfRecords(path)) {
      const rows = rowsBelow(setting).map(({ name, allowed, meaning }) => `${name}: ${meaning} Allowed: ${allowed}.`);
      lines.push(...rows.flatMap((row) => wrapped(row, 118 - indent.length).map((line) => `${indent}# ${line}`)));
    }
    const value = examples[formatPath(path)] ?? nodeAt(path).default;
    if (isOfRecords(path)) lines.push(...block({ [path[0] ?? ""]: value }).map((line) => `#${line}`));
    else if (setting.type === "entryList") {
      const entries = block({ [path.at(-1) ?? ""]: value });
      // With the section's indent before the #, as of all settings.
      lines.push(...entries.map((line) => `${indent}#${line}`));
    } else lines.push(`${indent}#${path.at(-1)}: ${flow(value)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** `docs/settings.md`. */
export function settingsPage(): string {
  const rows = settingPaths(settingsSchema).map((setting) => ({ setting, ...rowOf(setting) }));
  const cells = [
    ["Setting", "Allowed", "Default", "Scope", "Variable", "Flag", "Meaning"],
    ...rows.map(({ setting, description, defaults, flag, variables }) => [
      `\`${formatPath(setting.path)}\``,
      allowedIn(nodeAt(setting.path), setting),
      defaults,
      setting.scope,
      variables.map((name) => `\`${name}\``).join(" "),
      flag === undefined ? "" : `\`${flag}\``,
      description,
    ]),
  ];
  const models = [
    ['Below `models["<pattern>"]`', "Allowed", "Meaning"],
    ...rowsBelow({ path: ["models"] }).map(({ name, allowed, meaning }) => [`\`${name}\``, allowed, meaning]),
  ];
  const profiles = [
    ["Below `profiles.<name>`", "Allowed", "Meaning"],
    ...rowsBelow({ path: ["profiles"] }).map(({ name, allowed, meaning }) => [`\`${name}\``, allowed, meaning]),
  ];
  const servers = [
    ["In an entry of `providers.openai`", "Allowed", "Meaning"],
    ...rowsBelow({ path: ["providers", "openai"] }).map(({ name, allowed, meaning }) => [
      `\`${name}\``,
      allowed,
      meaning,
    ]),
  ];
  return [
    "# Settings",
    "",
    "This page is generated from the settings schema.",
    "",
    "Precedence: default < `config.yaml` in `OLLM_HOME` < `.ollm/project.yaml` < `OLLM_*` variables < flags < the inputs of a",
    "request. `ollm config show` lists each value with its source. Settings of scope `daemon` apply to all clients of a home,",
    "those of scope `caller` to the client that sets them; those of scope `request` can also be inputs of a request. Changes",
    "of the file take effect at once.",
    "",
    "`ollm config set 'models[\"qwen2.5*\"].contextTokens' 16384` sets an option of all models that match a pattern; `*`",
    "matches any characters. Of several matching patterns the last one wins, option by option. Options of a model override",
    "the same options for all models (`options`, `providers.ollama.options.numCtx`, `model.keepAlive.timeout`), wherever",
    "those are set; the inputs of a request override both.",
    "",
    ...table(cells),
    "",
    ...table(models),
    "",
    ...table(profiles),
    "",
    "`ollm config set 'providers.openai[0].monthlyBudget' 20` changes one value of the first entry, `ollm config set",
    "providers.openai '[{\"id\": ...}]'` the whole list. [Clouds and clusters](clouds-and-clusters.md) has examples.",
    "",
    ...table(servers),
    "",
  ].join("\n");
}

function rowOf(setting: SettingPath) {
  const node = nodeAt(setting.path);
  const name = formatPath(setting.path);
  const flags = flagValues({
    model: "1",
    provider: "1",
    host: "1",
    temperature: "1",
    maxTokens: "1",
    contextSize: "1",
  });
  const flag = name === "files.roots" ? "--root" : flags.find(({ path }) => formatPath(path) === name)?.name;
  const short = Object.keys(shortNames).filter((key) => formatPath(shortNames[key] ?? []) === name);
  const bytes = name.endsWith("Bytes") && typeof node.default === "number" ? ` (${inBytes(node.default)})` : "";
  return {
    description: node.description ?? "",
    defaults: node.default === undefined ? "none" : `${flow(node.default)}${bytes}`,
    flag,
    variables: [...short, setting.environmentName],
  };
}

/** Whether each key of the record is a section. */
function isOfRecords([first]: readonly string[]): boolean {
  return first === "models" || first === "profiles" || first === "checks" || first === "workers";
}

/** The settings below a record's key, or in an entry of a list. */
function rowsBelow({ path }: Pick<SettingPath, "path">): readonly {
  readonly name: string;
  readonly allowed: string;
  readonly meaning: string;
}[] {
  const { additionalProperties, items } = nodeAt(path);
  const below = typeof additionalProperties === "object" ? additionalProperties : (items ?? {});
  return pathsInRecord(settingsSchema, path).flatMap((inner) => {
    const node = inner.reduce<SchemaNode>((parent, key) => parent.properties?.[key] ?? {}, below);
    if (node.description === undefined) return [];
    return [{ name: inner.join("."), allowed: allowedText(node), meaning: node.description }];
  });
}

function nodeAt(path: readonly string[]): SchemaNode {
  return schemaNodeAt(settingsSchema, path);
}

function allowedIn(node: SchemaNode, setting?: SettingPath): string {
  return setting?.type === "list" ? "list of folders" : allowedText(node);
}

/** A Markdown table, formatted like oxfmt does. */
function table(rows: readonly (readonly string[])[]): readonly string[] {
  const escaped = rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = (escaped[0] ?? []).map((_cell, column) =>
    Math.max(3, ...escaped.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = escaped;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)];
}

function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(
      ([key, child]) => `${/^\w+$/.test(key) ? key : JSON.stringify(key)}: ${flow(child)}`,
    );
    return `{${entries.join(", ")}}`;
  }
  return typeof value === "string" && /^[\w./:-]+$/.test(value) ? value : JSON.stringify(value);
}

function block(value: object, indent = ""): readonly string[] {
  return Object.entries(value).flatMap(([key, child]: [string, unknown]) => {
    const name = /^\w+$/.test(key) ? key : JSON.stringify(key);
    if (Array.isArray(child) && child.every((item) => typeof item === "object")) {
      const items = child.flatMap((item: object) => {
        const [first = "", ...rest] = block(item, `${indent}    `);
        return [`${indent}  - ${first.trimStart()}`, ...rest];
      });
      return [`${indent}${name}:`, ...items];
    }
    if (Array.isArray(child)) return [`${indent}${name}: ${flow(child)}`];
    if (typeof child !== "object" || child === null) return [`${indent}${name}: ${flow(child)}`];
    return [`${indent}${name}:`, ...block(child, `${indent}  `)];
  });
}

function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function sharedLength(a: readonly string[], b: readonly string[]): number {
  const index = a.findIndex((key, at) => key !== b[at]);
  return index === -1 ? a.length : index;
}

function inBytes(bytes: number): string {
  return bytes >= 1024 ** 3 ? `${bytes / 1024 ** 3} GiB` : `${bytes / 1024 ** 2} MiB`;
}
