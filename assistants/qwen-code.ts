import type { Assistant } from "./world.ts";

export const qwenCode: Assistant = {
  title: "Qwen Code",
  npm: ["@qwen-code/qwen-code", "0.24.4"],
  files: () => ["@qwen-code/qwen-code/cli-entry.js"],
  protocol: "chat",
  client: "qwen",
  settings: () => ({
    ".qwen/settings.json": `${JSON.stringify(
      {
        general: { enableAutoUpdate: false },
        privacy: { usageStatisticsEnabled: false },
        telemetry: { enabled: false },
        security: { auth: { selectedType: "openai" } },
      },
      undefined,
      2,
    )}\n`,
  }),
  variables: ({ url }) => ({
    OPENAI_API_KEY: "dummy-key",
    OPENAI_BASE_URL: `${url}/v1`,
    OPENAI_MODEL: "scripted",
    QWEN_CODE_DISABLE_AUTO_UPDATE: "1",
  }),
  once: (prompt, { url }) => [
    "--auth-type",
    "openai",
    "--openai-base-url",
    `${url}/v1`,
    "--model",
    "scripted",
    "--yolo",
    prompt,
  ],
  chat: {
    words: ({ url }) => ["--auth-type", "openai", "--openai-base-url", `${url}/v1`, "--model", "scripted", "--yolo"],
    ready: /Type your message/,
    cancel: ["\x1b"],
    command: (prompt, argument) => `/${prompt} --error="${argument}"`,
  },
  search: (name) => ({ name: "tool_search", input: { query: `select:${name}` } }),
  bridge: ({ name, input }) => ({ name: "tool_call", input: { name, arguments: input } }),
  resource: (uri) => ({ name: "read_mcp_resource", input: { server_name: "ollm", uri } }),
  tool: (name) => `mcp__ollm__${name}`,
};
