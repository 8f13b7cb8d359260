/**
 * Clients, by name, that wait as long as progress arrives. Any other client is assumed to cut a call at an unknown time,
 * as these do:
 *
 * | client            | cuts a call                                          | source                                   |
 * |-------------------|------------------------------------------------------|------------------------------------------|
 * | Codex             | after 60 s (`tool_timeout_sec`), progress or not     | openai/codex pull 3959                   |
 * | Claude Desktop    | after some 60 or 240 s, not configurable             | anthropics/claude-code issues 22542, 65643 |
 * | Claude Cowork     | after 60 s, progress or not                          | anthropics/claude-code issue 58687       |
 * | SDK clients       | after 60 s, unless told to restart it with progress  | `DEFAULT_REQUEST_TIMEOUT_MSEC`           |
 * | Gemini CLI        | after 10 min, or what its `timeout` says             | its docs/tools/mcp-server.md             |
 *
 * Claude Code restarts its idle timer at every progress notification; `ollm` is our own shell.
 */
const patientClients: readonly string[] = ["claude-code", "ollm"];

/**
 * Milliseconds after which a call of `client` is detached and answered with a job; undefined: no limit. A client that
 * requests no progress gets the limit, even a patient one.
 */
export function patienceMs({
  client,
  hasProgressToken,
  configuredSeconds,
}: {
  readonly client: string;
  readonly hasProgressToken: boolean;
  /** `jobs.patience`. */
  readonly configuredSeconds: number;
}): number | undefined {
  return hasProgressToken && patientClients.includes(client) ? undefined : configuredSeconds * 1000;
}
