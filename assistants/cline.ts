import type { Assistant } from "./world.ts";

export const cline: Assistant = {
  title: "Cline",
  npm: ["cline", "3.0.65"],
  files: (platform) => [`@cline/cli-${platform}/bin/cline`],
  protocol: "chat",
  client: "cline",
  settings: ({ url }) => ({
    ".cline/data/settings/global-settings.json": JSON.stringify({ telemetryOptOut: true, autoUpdateEnabled: false }),
    ".cline/providers.json": JSON.stringify({
      version: 1,
      lastUsedProvider: "openai-compatible",
      modes: {},
      providers: {
        "openai-compatible": {
          settings: { provider: "openai-compatible", model: "scripted", baseUrl: `${url}/v1`, contextWindow: 200_000 },
          updatedAt: "2026-01-01T00:00:00.000Z",
          tokenSource: "manual",
        },
      },
    }),
  }),
  variables: ({ home }) => ({
    CLINE_PROVIDER_SETTINGS_PATH: `${home}/.cline/providers.json`,
    CLINE_NO_AUTO_UPDATE: "1",
    CLINE_SESSION_BACKEND_MODE: "local",
    OPENAI_API_KEY: "dummy-key",
    AI_SDK_LOG_WARNINGS: "false",
  }),
  once: (prompt) => [prompt],
  chat: { words: () => [], ready: /What can I do for you/, cancel: ["\x1b"], stopped: /abort requested/ },
  tool: (name) => `ollm__${name}`,
};
