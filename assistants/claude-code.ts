import type { Assistant } from "./world.ts";

const key = "dummy-key";
const down = "\x1b[B";
const enter = "\r";

export const claudeCode: Assistant = {
  title: "Claude Code",
  npm: ["@anthropic-ai/claude-code", "2.1.330"],
  files: (platform) => [`@anthropic-ai/claude-code-${platform}/claude`],
  protocol: "messages",
  client: "claude-code",
  settings: ({ work }) => ({
    ".claude.json": `${JSON.stringify(
      {
        hasCompletedOnboarding: true,
        theme: "dark",
        customApiKeyResponses: { approved: [key], rejected: [] },
        projects: { [work]: { hasTrustDialogAccepted: true, hasCompletedProjectOnboarding: true } },
      },
      undefined,
      2,
    )}\n`,
  }),
  variables: ({ url }) => ({
    ANTHROPIC_BASE_URL: url,
    ANTHROPIC_API_KEY: key,
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    // Root may not run without questions.
    IS_SANDBOX: "1",
  }),
  once: (prompt) => ["-p", prompt, "--allowedTools", "mcp__ollm__*,ReadMcpResourceTool"],
  chat: {
    words: () => ["--allowedTools", "mcp__ollm__*,ReadMcpResourceTool"],
    ready: /^\s*❯/m,
    cancel: ["\x1b"],
    command: (prompt, argument) => `/mcp__ollm__${prompt} ${argument}`,
    form: { shown: /requests your input/, accept: [" ", down, enter], decline: [down, down, enter] },
  },
  tool: (name) => `mcp__ollm__${name}`,
  search: (name) => ({ name: "ToolSearch", input: { query: `select:${name}`, max_results: 5 } }),
  read: (file) => ({ name: "Read", input: { file_path: file } }),
  resource: (uri) => ({ name: "ReadMcpResourceTool", input: { server: "ollm", uri } }),
};
