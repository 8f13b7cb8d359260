import type { Assistant } from "./world.ts";

export const codex: Assistant = {
  title: "Codex",
  npm: ["@openai/codex", "0.169.0"],
  files: () => ["@openai/codex/bin/codex.js"],
  protocol: "responses",
  client: "codex",
  settings: ({ url, work }) => ({
    ".codex/config.toml": `model = "scripted"
model_provider = "script"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
web_search = "disabled"

[model_providers.script]
name = "script"
base_url = "${url}/v1"
wire_api = "responses"
env_key = "SCRIPT_KEY"

[analytics]
enabled = false

[features]
plugins = false
apps = false

[projects."${work}"]
trust_level = "trusted"
`,
  }),
  variables: () => ({ SCRIPT_KEY: "dummy-key" }),
  // A person trusts the hook of `ollm setup --plugin` once, in `/hooks`.
  once: (prompt) => ["exec", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", prompt],
  chat: {
    // With "never", forms are declined for the user.
    words: () => ["--ask-for-approval", "on-request", "--dangerously-bypass-hook-trust"],
    ready: /^\s*›/m,
    cancel: ["\x1b"],
    form: { shown: /Delete \w+:1b/, accept: ["\r"], decline: ["\x1b[B", "\r"] },
    asks: { shown: /Allow the ollm MCP server to run tool/, yes: "\r" },
  },
  tool: (name) => `mcp__ollm/${name}`,
  read: (file) => ({ name: "exec_command", input: { cmd: `cat ${file}` } }),
  resource: (uri) => ({ name: "read_mcp_resource", input: { server: "ollm", uri } }),
};
