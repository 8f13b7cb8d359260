import * as z from "zod";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { defined } from "../../orchestrator/util/defined.ts";
import { type Door, type DoorCall, chosenNames, may, parsed } from "./door.ts";
import { errorBody, readChat } from "./openai-chat.ts";
import { readResponse } from "./openai-responses.ts";

export const openai: Door = {
  name: "openai",
  streamType: "text/event-stream",
  routes: {
    "POST /v1/chat/completions": readChat,
    "POST /v1/responses": readResponse,
    "POST /v1/embeddings": () => embed,
    "GET /v1/models": () => listModels,
    "GET /v1/models/*": () => describeModel,
  },
  errorBody,
};

const texts = z.array(z.string("must be a text, or a list of texts: tokens can't be embedded here").min(1)).min(1);
const embedding = z.object({
  model: z.string().min(1),
  input: z.preprocess((given) => (typeof given === "string" ? [given] : given), texts),
  encoding_format: may(z.enum(["float", "base64"])),
  dimensions: may(z.int().min(1)),
});

async function embed({ orchestrator, caller, body, named, told }: DoorCall): Promise<object> {
  const { model: asked, input, encoding_format: encoding, dimensions } = parsed(embedding, body);
  const embedded = await orchestrator.embed(caller, { texts: input, ...defined({ model: named(asked).model }) });
  const { model, vectors, promptTokens } = embedded;
  told(embedded);
  const [{ length } = []] = vectors;
  if (dimensions !== undefined && dimensions !== length)
    throw new InvalidRequest(
      `dimensions: the vectors of ${model} have ${length}, which can't be changed: leave it out`,
    );
  const data = vectors.map((vector, index) => ({
    object: "embedding",
    index,
    embedding: encoding === "base64" ? packed(vector) : vector,
  }));
  return { object: "list", data, model, usage: { prompt_tokens: promptTokens, total_tokens: promptTokens } };
}

function packed(vector: readonly number[]): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [at, value] of vector.entries()) bytes.writeFloatLE(value, at * 4);
  return bytes.toString("base64");
}

async function listModels({ orchestrator, caller, mapped }: DoorCall): Promise<object> {
  const { models } = await orchestrator.listModels(caller, { isInstalledOnly: true });
  const ours = [...new Set([...chosenNames({ orchestrator, caller }), ...mapped])];
  return {
    object: "list",
    data: [
      ...ours.map((id) => modelInfo(id)),
      ...models.map(({ name, engine, modifiedAt }) => modelInfo(name, engine, modifiedAt)),
    ],
  };
}

async function describeModel({ orchestrator, caller, named, rest, mapped }: DoorCall): Promise<object> {
  const { model } = named(rest);
  if (model === undefined || mapped.includes(rest)) return modelInfo(rest);
  const { model: listed } = await orchestrator.describeModel(caller, model);
  return modelInfo(listed.name, listed.engine, listed.modifiedAt);
}

function modelInfo(id: string, engine = "ollm", modifiedAt = "") {
  const created = Date.parse(modifiedAt);
  return { id, object: "model", created: Number.isNaN(created) ? 0 : Math.floor(created / 1_000), owned_by: engine };
}
