import type { Assistant } from "./world.ts";

export const geminiCli: Assistant = {
  title: "Gemini CLI",
  npm: ["@google/gemini-cli", "0.61.0"],
  files: () => ["@google/gemini-cli/bundle/gemini.js"],
  protocol: "gemini",
  client: "gemini",
  settings: () => ({
    ".gemini/settings.json": `${JSON.stringify(
      {
        general: { enableAutoUpdate: false, enableAutoUpdateNotification: false },
        privacy: { usageStatisticsEnabled: false },
        security: { auth: { selectedType: "gemini-api-key" }, folderTrust: { enabled: false } },
        telemetry: { enabled: false },
      },
      undefined,
      2,
    )}\n`,
  }),
  variables: ({ url }) => ({ GOOGLE_GEMINI_BASE_URL: url, GEMINI_API_KEY: "dummy-key" }),
  once: (prompt) => ["--model", "gemini-2.5-pro", "--yolo", "--prompt", prompt],
  chat: {
    words: () => ["--model", "gemini-2.5-pro", "--yolo"],
    ready: /Type your message/,
    cancel: ["\x1b"],
    command: (prompt, argument) => `/${prompt} --error="${argument}"`,
    stopped: /Request cancelled/,
  },
  tool: (name) => `mcp_ollm_${name}`,
  resource: (uri) => ({ name: "read_mcp_resource", input: { uri } }),
};
