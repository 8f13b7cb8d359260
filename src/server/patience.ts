/**
 * Clients that wait as long as progress flows, by the name with which they introduce themselves. Everybody else is
 * assumed to cut a call at some time that we don't know, because these do:
 *
 * | client            | cuts a call                                          | source                                   |
 * |-------------------|------------------------------------------------------|------------------------------------------|
 * | Codex             | after 60 s (`tool_timeout_sec`), progress or not     | openai/codex pull 3959                   |
 * | Claude Desktop    | after some 60 or 240 s, not to be changed            | anthropics/claude-code issues 22542, 65643 |
 * | Claude Cowork     | after 60 s, progress or not                          | anthropics/claude-code issue 58687       |
 * | SDK clients       | after 60 s, unless told to start anew with progress  | `DEFAULT_REQUEST_TIMEOUT_MSEC`           |
 * | Gemini CLI        | after 10 min, or what its `timeout` says             | its docs/tools/mcp-server.md             |
 *
 * Claude Code starts its idle timer anew at every progress notification; `ollm` is our own command.
 */
const patientClients: readonly string[] = ["claude-code", "ollm"];

/**
 * Milliseconds after which a call of `client` is detached and answered with a job; undefined: no limit. A client that
 * doesn't listen to progress sees nothing meanwhile, however patient it is.
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
