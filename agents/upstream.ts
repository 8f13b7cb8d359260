import { once } from "node:events";
import { mkdir, readFile, readdir } from "node:fs/promises";
import { type IncomingMessage, createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { say } from "../conformance/judges.ts";
import { startFakeOpenAi } from "../test/support/fake-openai.ts";
import type { ScriptedRequest } from "../test/support/scripted.ts";
import { type Turn, agents, prompt } from "./programs.ts";
import { World, tail, version } from "./world.ts";

/** Neither is a real one. */
const key = "sk-ant-dummy-key-of-the-program";
const scripted = { name: "scripted", contextTokens: 131_072, capabilities: ["completion", "tools"] };
const lastWords = "Both files are joined.";
const limitMs = 120_000;

/** One request and its answer, as they passed a place. */
interface Passed {
  readonly line: string;
  readonly headers: readonly string[];
  readonly body: Buffer;
  readonly status: number;
  readonly answer: Buffer;
}

/** Of one connection, made anew by each side, and our token. */
const left = new Set(["host", "connection", "keep-alive", "transfer-encoding", "content-length", "ollm-token"]);
const kept = (raw: readonly string[]) => raw.filter((_, at) => !left.has(raw[at - (at % 2)]?.toLowerCase() ?? ""));

/** Notes what passes to `target`, byte for byte; `change` is made to what is sent on. */
async function recorder(target: string, change: (headers: string[], body: Buffer) => Buffer = (_, body) => body) {
  const passed: Passed[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const body = await bytesOf(request);
      const { method = "", url = "", rawHeaders } = request;
      const headers = rawHeaders.filter((_, at) => !/^(host|content-length)$/i.test(rawHeaders[at - (at % 2)] ?? ""));
      const sent = change(headers, body);
      headers.push("Host", new URL(target).host, "Content-Length", String(sent.length));
      const onward = httpRequest(new URL(url, target), { method, headers }).end(sent);
      const [reply] = (await once(onward, "response")) as [IncomingMessage];
      response.writeHead(reply.statusCode ?? 502, kept(reply.rawHeaders));
      reply.pipe(response);
      const answer = await bytesOf(reply).catch(() => Buffer.alloc(0));
      passed.push({ line: `${method} ${url}`, headers: kept(rawHeaders), body, status: reply.statusCode ?? 0, answer });
    })().catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, passed, close };
}

async function bytesOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(stream, "end");
  return Buffer.concat(chunks);
}

/** How each hands a task to the agent that `ollm agents install` wrote, and how it is sent through an address. */
const programs = {
  claude: {
    folder: ".claude",
    handOver: (names: readonly string[]): Turn => ({
      name: names.find((each) => /^(Task|Agent)$/.test(each)) ?? "Task",
      input: { description: "a task", prompt: "Say hi.", subagent_type: "ollm-fast" },
    }),
    arguments: agents.claude.arguments(prompt),
    variables: (url: string, token: string) => ({
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_API_KEY: key,
      ANTHROPIC_CUSTOM_HEADERS: `ollm-token: ${token}`,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      DISABLE_TELEMETRY: "1",
      DISABLE_AUTOUPDATER: "1",
    }),
  },
  codex: {
    folder: ".codex",
    handOver: (names: readonly string[]): Turn => ({
      name: names.find((each) => each.endsWith("spawn_agent")) ?? "spawn_agent",
      input: { agent_type: "ollm-fast", message: "Say hi." },
    }),
    arguments: agents.codex.arguments(prompt),
    variables: (_url: string, token: string) => ({ OPENAI_API_KEY: key, CODEX_OLLM_KEY: token }),
  },
};

const codexSettings = (url: string): readonly string[] =>
  Object.entries({
    model_provider: '"gateway"',
    "model_providers.gateway.name": '"OpenAI"',
    "model_providers.gateway.wire_api": '"responses"',
    "model_providers.gateway.base_url": `"${url}/v1"`,
    "model_providers.gateway.env_key": '"OPENAI_API_KEY"',
    "model_providers.gateway.env_http_headers": '{"ollm-token"="CODEX_OLLM_KEY"}',
    model: '"gpt-5.4"',
    model_reasoning_effort: '"high"',
    check_for_update_on_startup: "false",
    "analytics.enabled": "false",
    "features.plugins": "false",
    "features.apps": "false",
    web_search: '"disabled"',
  }).flatMap(([name, value]) => ["-c", `${name}=${value}`]);

/**
 * A program with its own key through `http.upstreams`: what it sent and what the service received are compared, also the
 * answers. The service is a second ollm behind a recorder. Returns whether all was as it must be.
 */
export async function runUpstream(name: keyof typeof programs): Promise<boolean> {
  const program = programs[name];
  const engine = await startFakeOpenAi({ dialect: "cloud", models: [{ id: scripted.name, contextTokens: 131_072 }] });
  const server = { id: "script", kind: "local", trust: "local", baseUrl: engine.baseUrl, models: [scripted] };
  const providers = { openai: [server] };
  const doors = ["anthropic", "openai"];
  const names = { "claude-*": scripted.name, "gpt-*": scripted.name };
  const far = await World.open({ providers, http: { doors, modelNames: names } }, false);
  await far.reset();
  const service = await far.serve();
  const atService = await recorder(service.url, (headers, body) => {
    for (const [at, text] of headers.entries()) if (text.includes(key)) headers[at] = text.replace(key, service.token);
    if (body.length === 0) return body;
    // The scripted model doesn't think.
    const asked = JSON.parse(body.toString()) as Record<string, unknown>;
    for (const each of ["thinking", "reasoning", "output_config"]) delete asked[each];
    return Buffer.from(JSON.stringify(asked));
  });
  const upstreams = { anthropic: atService.url, openai: atService.url };
  const world = await World.open({ providers, http: { doors, upstreams } }, false);
  const near = await world.serve();
  const atProgram = await recorder(near.url);
  const turns = agents[name].turns(world.work);
  engine.models.set(scripted.name, {
    id: scripted.name,
    contextTokens: 131_072,
    script({ messages, tools }: ScriptedRequest) {
      const known = tools.map((tool) => tool.name);
      const turn = [program.handOver(known), ...turns][messages.filter(({ role }) => role === "tool").length];
      return turn !== undefined && known.includes(turn.name)
        ? { calls: [{ name: turn.name, arguments: turn.input }] }
        : { text: lastWords };
    },
  });
  const problems: string[] = [];
  const title = `${name} ${await version(name)} through an upstream`;
  try {
    await mkdir(join(world.folder, program.folder), { recursive: true });
    await world.reset();
    const wrote = await world.ollm(["agents", "install", "--yes"], 30_000);
    if (wrote.code !== 0) problems.push(`agents install ended with ${wrote.code}: ${tail(wrote.stderr)}`);
    await world.install(name, agents[name]);
    const variables = { ...world.proxied, NO_PROXY: "127.0.0.1", ...program.variables(atProgram.url, near.token) };
    const words = [...(name === "codex" ? codexSettings(atProgram.url) : []), ...program.arguments];
    const ran = await world.run(join(world.folder, "bin", name), words, limitMs, variables);
    if (ran.code !== 0) problems.push(`ended with ${ran.code}: ${tail(ran.stdout)} ${tail(ran.stderr)}`);
    problems.push(...(await world.problems()));

    const isOurs = ({ body }: Passed) => body.includes('"model":"ollm/');
    const ours = atProgram.passed.filter(isOurs);
    if (!ours.some(({ status }) => status === 200)) problems.push("no request for ollm/fast was answered here");
    if (atService.passed.some(isOurs)) problems.push("a request for ollm/... reached the service");
    const main = atProgram.passed.filter((each) => each.body.length > 0 && !isOurs(each));
    if (main.length === 0) problems.push("no main turn passed");
    for (const { line, headers, body, answer } of main) {
      const same = atService.passed.find((each) => each.line === line && each.body.equals(body));
      if (same === undefined) problems.push(`${line}: the service did not receive these ${body.length} bytes`);
      else if (same.headers.join("\n") !== headers.join("\n")) problems.push(`${line}: other headers arrived`);
      else if (!same.answer.equals(answer)) problems.push(`${line}: another answer arrived`);
      if (!headers.join("\n").includes(key)) problems.push(`${line}: the program sent no key, so nothing is shown`);
    }
    // What the daemon keeps and shows.
    const home = join(world.folder, ".ollm");
    for (const file of await readdir(home, { recursive: true, withFileTypes: true })) {
      const text = file.isFile() ? await readFile(join(file.parentPath, file.name), "utf8") : "";
      if (text.includes(key)) problems.push(`the key stands in ${file.name}`);
    }
    for (const shown of [["status", "--json"], ["stats", "--json"], ["config", "show"], ["logs"]]) {
      if ((await world.ollm(shown, 30_000)).stdout.includes(key)) problems.push(`ollm ${shown[0]} shows the key`);
    }
    const bytes = main.reduce((sum, { body }) => sum + body.length, 0);
    const figures = `${main.length} requests of ${bytes} bytes arrived as they were sent, ${ours.length} were answered here`;
    say(problems.length === 0 ? `${title}: ${figures}` : `${title}: FAILED: ${problems.join("; ")}`);
  } finally {
    for (const each of [atProgram, atService]) each.close();
    await Promise.all([near.stop(), service.stop()]);
    await Promise.all([world.close(), far.close()]);
    await engine.close();
  }
  return problems.length === 0;
}
