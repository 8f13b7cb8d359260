/**
 * What any proxy in Node adds, beside which the bench `door` shows the daemon: asks the engine for a stream, as the daemon
 * does for every answer, and passes it on as it comes or, where none was asked for, as one answer. It reads, chooses and
 * counts nothing. Argument: the engine's address. Prints `{"url": …}`.
 */
import { Agent, createServer, type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

interface Event {
  readonly choices: readonly { readonly delta?: { readonly content?: string } }[];
}

const [engine = ""] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true });
const headers = { "content-type": "application/json" };

const server = createServer((asked, answer) => {
  void text(asked).then((body) => {
    const given = JSON.parse(body) as { readonly stream?: boolean };
    const sent = request(`${engine}${asked.url?.replace("/v1", "") ?? ""}`, { method: "POST", agent, headers });
    sent.on("response", (stream: IncomingMessage) => {
      if (given.stream !== true) return void text(stream).then((events) => answer.end(joined(events)));
      answer.writeHead(stream.statusCode ?? 502, stream.headers);
      stream.pipe(answer);
    });
    sent.end(JSON.stringify({ ...given, stream: true, stream_options: { include_usage: true } }));
  });
});

function joined(events: string): string {
  const read = [...events.matchAll(/^data: (\{.*)$/gm)].map(([, json = ""]) => JSON.parse(json) as Event);
  const content = read.map(({ choices: [choice] }) => choice?.delta?.content ?? "").join("");
  return JSON.stringify({ ...read.at(-1), choices: [{ index: 0, message: { role: "assistant", content } }] });
}

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);
});
