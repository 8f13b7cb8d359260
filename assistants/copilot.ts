import type { Assistant } from "./world.ts";

export const copilot: Assistant = {
  title: "Copilot CLI",
  npm: ["@github/copilot", "1.0.102"],
  files: (platform) => [`@github/copilot-${platform}/copilot`],
  protocol: "chat",
  client: "copilot",
  settings: ({ work }) => ({ ".copilot/config.json": JSON.stringify({ trusted_folders: [work], banner: "never" }) }),
  variables: ({ url }) => ({
    COPILOT_OFFLINE: "true",
    COPILOT_AUTO_UPDATE: "false",
    COPILOT_PROVIDER_BASE_URL: `${url}/v1`,
    COPILOT_PROVIDER_API_KEY: "dummy-key",
    COPILOT_MODEL: "scripted",
  }),
  once: (prompt) => ["--prompt", prompt, "--allow-all-tools"],
  chat: {
    words: () => ["--allow-all-tools"],
    ready: /❯/,
    cancel: ["\x1b", "\x1b"],
    form: { shown: /needs information/, accept: ["\r"], decline: ["\x1b[B", "\r"] },
  },
  tool: (name) => `ollm-${name}`,
};
