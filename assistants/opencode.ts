import type { Assistant, Places } from "./world.ts";

const settings = ({ url }: Places) => ({
  ".config/opencode/opencode.json": `${JSON.stringify(
    {
      $schema: "https://opencode.ai/config.json",
      autoupdate: false,
      share: "disabled",
      enabled_providers: ["script"],
      provider: {
        script: {
          npm: "@ai-sdk/openai-compatible",
          name: "script",
          options: { baseURL: `${url}/v1`, apiKey: "dummy-key" },
          models: { scripted: { name: "scripted", limit: { context: 200_000, output: 16_000 }, tool_call: true } },
        },
      },
      model: "script/scripted",
      small_model: "script/scripted",
      permission: "allow",
    },
    undefined,
    2,
  )}\n`,
});

export const opencode: Assistant = {
  title: "opencode",
  npm: ["opencode-ai", "1.18.33"],
  // The other one needs a newer processor.
  files: (platform) => [`opencode-${platform}-baseline/bin/opencode`, `opencode-${platform}/bin/opencode`],
  protocol: "chat",
  client: "opencode",
  settings,
  variables: () => ({ OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_AUTOUPDATE: "1" }),
  once: (prompt) => ["run", prompt],
  chat: {
    words: () => [],
    ready: /Ask anything/,
    cancel: ["\x1b", "\x1b"],
    command: (prompt, argument) => `/ollm:${prompt} ${argument}`,
  },
  tool: (name) => `ollm_${name}`,
  resource: (uri) => ({ name: "read_mcp_resource", input: { server: "ollm", uri } }),
};
