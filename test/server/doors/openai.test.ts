import OpenAI, {
  APIConnectionTimeoutError,
  APIError,
  AuthenticationError,
  BadRequestError,
  NotFoundError,
} from "openai";
import { describe, expect, it } from "vitest";
import { BudgetExceeded, GenerationFailed, PrivacyLocked, QueueFull } from "../../../src/orchestrator/api/errors.ts";
import { inPieces, openAiAgainst } from "./openai-client.ts";

const chat = { model: "able:1b", messages: [{ role: "user", content: "Hi" }] as { role: "user"; content: string }[] };

describe("embeddings", () => {
  it("come as numbers and as base64, for one text or many", async () => {
    const { client } = await openAiAgainst();
    const model = "minilm";
    const packed = await client.embeddings.create({ model, input: ["a", "abc"] });
    expect(packed).toMatchObject({
      object: "list",
      model: "minilm:latest",
      usage: { prompt_tokens: 7, total_tokens: 7 },
    });
    expect(packed.data.map(({ index, embedding }) => [index, [...embedding]])).toEqual([
      [0, [1, 0.5, -1]],
      [1, [3, 0.5, -1]],
    ]);
    const plain = await client.embeddings.create({ model, input: "abc", encoding_format: "float", dimensions: 3 });
    expect(plain.data[0]?.embedding).toEqual([3, 0.5, -1]);
  });

  it.each([
    [{ input: [1, 2] }, /input\.0: .*tokens can't be embedded/],
    [{ input: [[1, 2]] }, /input\.0: .*tokens can't be embedded/],
    [{ input: [] }, /input: /],
    [{ dimensions: 64 }, /dimensions: the vectors of minilm:latest have 3/],
    [{ model: "plain:1b" }, /minilm/],
  ])("refuse %j with what to do", async (more, expected) => {
    const { client } = await openAiAgainst();
    const failed = await client.embeddings
      .create({ model: "minilm", input: "a", ...(more as object) })
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(BadRequestError);
    expect((failed as Error).message).toMatch(expected);
  });
});

describe("headers of embeddings", () => {
  it("say which model embedded, how long it waited and loaded, and what it cost", async () => {
    const price = { currency: "USD", inputPerMillion: 1, outputPerMillion: 1, date: "2026-11-01" };
    const paid = { pricesOf: () => price };
    for (const engine of [{}, paid]) {
      const { client } = await openAiAgainst({ engine });
      const { response } = await client.embeddings.create({ model: "minilm", input: "a" }).withResponse();
      const said = ["model", "queue-ms", "load-ms", "cost"].map((name) => response.headers.get(`ollm-${name}`));
      const number = expect.stringMatching(/^\d+$/) as string;
      expect(said).toEqual(["minilm:latest", number, number, engine === paid ? expect.stringMatching(/ USD$/) : null]);
    }
  });
});

describe("models", () => {
  it("are the installed ones, ollm/auto, the profiles, and mapped names that are no patterns", async () => {
    const { client } = await openAiAgainst({ http: { modelNames: { "gpt-4o": "ollm/auto", "gpt-5*": "able:1b" } } });
    const ids: string[] = [];
    for await (const { id } of client.models.list()) ids.push(id);
    expect(ids).toEqual(expect.arrayContaining(["ollm/auto", "ollm/code", "gpt-4o", "able:1b", "minilm:latest"]));
    expect(ids).not.toContain("gpt-5*");
    expect(await client.models.retrieve("able:1b")).toMatchObject({
      id: "able:1b",
      owned_by: "ollama",
      created: 1_793_527_200,
    });
    expect(await client.models.retrieve("ollm/code")).toMatchObject({ id: "ollm/code", owned_by: "ollm" });
    await expect(client.models.retrieve("abel:1b")).rejects.toThrow(/able:1b/);
  });
});

describe("errors", () => {
  it("are those that the client knows: token, model, route", async () => {
    const { client, listener } = await openAiAgainst();
    const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: "wrong", maxRetries: 0 });
    const refused = await stranger.models.list().catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(AuthenticationError);
    expect(refused).toMatchObject({ code: "invalid_api_key" });
    for (const [model, near] of [
      ["abel:1b", /able:1b/],
      ["ollm/cod", /ollm\/code/],
    ] as const) {
      const failed = await client.chat.completions.create({ ...chat, model }).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(NotFoundError);
      expect(failed).toMatchObject({ code: "model_not_found", param: "model" });
      expect((failed as Error).message).toMatch(near);
    }
    expect((await listener.ask("/v1/fine_tuning", { body: {} })).status).toBe(404);
  });

  it("name the window of a prompt that is too long, and both numbers; nothing is cut", async () => {
    const { client, asked } = await openAiAgainst();
    const messages = [{ role: "user" as const, content: "word ".repeat(400_000) }];
    const failed = await client.chat.completions.create({ ...chat, messages }).catch((error: unknown) => error);
    expect(failed).toMatchObject({ status: 400, code: "context_length_exceeded", param: "messages" });
    expect((failed as Error).message).toMatch(/maximum context length is 32768 tokens.*resulted in \d+ tokens/);
    expect(asked).toEqual([]);
  });

  it.each([
    [new QueueFull("the queue is full"), 429, "rate_limit_exceeded"],
    [new BudgetExceeded("the budget is spent"), 402, "insufficient_quota"],
    [new PrivacyLocked("it stays here"), 403, "privacy_locked"],
  ])("%s", async (refusal, status, code) => {
    const { client, orchestrator } = await openAiAgainst();
    orchestrator.generate = () => Promise.reject(refusal);
    const failed = await client.chat.completions.create(chat).catch((each: unknown) => each);
    expect(failed).toMatchObject({ status, code });
    if (status === 429) expect((failed as APIError).headers?.get("retry-after")).toBe("5");
  });

  it("are thrown in a stream that has begun", async () => {
    const { client } = await openAiAgainst({
      answer: async (_request, sink) => {
        sink.text("Hel");
        throw new GenerationFailed("the engine broke");
      },
    });
    let text = "";
    const reading = async () => {
      for await (const { choices } of await client.chat.completions.create({ ...chat, stream: true }))
        text += choices[0]?.delta.content ?? "";
    };
    await expect(reading()).rejects.toBeInstanceOf(APIError);
    expect(text).toBe("Hel");
  });
});

describe("streams", () => {
  /** An answer that begins and then lasts until it is aborted. */
  function endless() {
    let aborted: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (aborted = resolve));
    const answer: Parameters<typeof openAiAgainst>[0] = {
      answer: (_request, sink, signal) => {
        sink.text("Once");
        return new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => {
            aborted();
            reject(new Error("aborted"));
          }),
        );
      },
    };
    return { answer, ended };
  }

  it("end at the engine when the client cancels", async () => {
    const { answer, ended } = endless();
    const { client } = await openAiAgainst(answer);
    const stream = await client.chat.completions.create({ ...chat, stream: true });
    for await (const { choices } of stream) if (choices[0]?.delta.content === "Once") break;
    await expect(ended).resolves.toBeUndefined();
  });

  it("end at the engine when the client gives up waiting, also for a whole answer", async () => {
    const { answer, ended } = endless();
    const { client } = await openAiAgainst({ ...answer, client: { timeout: 300 } });
    await expect(client.chat.completions.create(chat)).rejects.toBeInstanceOf(APIConnectionTimeoutError);
    await ended;
  });

  it("are whole for 64 at once", async () => {
    const words = Array.from({ length: 20 }, (_, at) => `w${at} `);
    const { client } = await openAiAgainst({
      answer: (request, ...rest) => inPieces([`${request.messages[0]?.content ?? ""}: `, ...words])(request, ...rest),
    });
    const texts = await Promise.all(
      Array.from({ length: 64 }, async (_, at) => {
        let text = "";
        const messages = [{ role: "user" as const, content: `client ${at}` }];
        for await (const { choices } of await client.chat.completions.create({ ...chat, messages, stream: true }))
          text += choices[0]?.delta.content ?? "";
        return text;
      }),
    );
    expect(texts).toEqual(texts.map((_text, at) => `client ${at}: ${words.join("")}`));
  });
});
