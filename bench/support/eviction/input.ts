import { readFile } from "node:fs/promises";
import * as z from "zod";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { mostModels } from "./resident-sets.ts";
import type { Machine } from "./machine.ts";

export interface RecordedTrace {
  readonly machine: Machine;
  /** Numbers of models. */
  readonly requests: readonly number[];
}

const modelList = z
  .array(
    z.object({
      name: z.string().min(1),
      bytes: z.number().positive(),
      load_seconds: z.number().nonnegative(),
    }),
  )
  .min(1);

/**
 * A trace (one model name a line; empty lines don't count) and its models (a JSON array of name, bytes as needed and
 * load_seconds) on a memory of `capacity` bytes, taken as it is. Throws `InvalidRequest` that names file, line and reason.
 */
export async function readRecordedTrace(options: Readonly<Record<string, string | undefined>>): Promise<RecordedTrace> {
  const { trace, models, capacity } = options;
  if (trace === undefined || models === undefined || capacity === undefined) {
    throw new InvalidRequest(
      "--trace FILE, --models FILE and --capacity BYTES belong together: give all three or none",
    );
  }
  const machine: Machine = { models: await readModels(models), capacityBytes: readCapacity(capacity) };
  const numberOf = new Map(machine.models.map(({ name }, index) => [name, index]));
  const requests = (await read(trace)).split(/\r?\n/u).flatMap((line, index) => {
    const name = line.trim();
    if (name === "") return [];
    const number = numberOf.get(name);
    if (number === undefined) throw new InvalidRequest(`${trace}, line ${index + 1}: "${name}" is not in ${models}`);
    return [number];
  });
  if (requests.length === 0) throw new InvalidRequest(`${trace}: no request in it; write one model name a line`);
  for (const number of new Set(requests)) {
    const { name, bytes } = machine.models[number] ?? { name: "", bytes: 0 };
    if (bytes > machine.capacityBytes) {
      throw new InvalidRequest(
        `${models}: ${name} needs ${bytes} bytes, more than the capacity of ${machine.capacityBytes}`,
      );
    }
  }
  return withoutUnused(machine, requests);
}

/** Models without requests would only make the optimum more expensive to compute. */
function withoutUnused({ models, capacityBytes }: Machine, requests: readonly number[]): RecordedTrace {
  const used = [...new Set(requests)].toSorted((a, b) => a - b);
  const numberOf = new Map(used.map((old, index) => [old, index]));
  return {
    machine: { capacityBytes, models: models.filter((_unused, index) => numberOf.has(index)) },
    requests: requests.map((old) => numberOf.get(old) ?? 0),
  };
}

async function readModels(path: string): Promise<Machine["models"]> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(await read(path));
  } catch (error) {
    if (error instanceof SyntaxError) throw new InvalidRequest(`${path}: not JSON: ${error.message}`, { cause: error });
    throw error;
  }
  const { data, error } = modelList.safeParse(parsed);
  if (data === undefined) throw new InvalidRequest(`${path}: ${z.prettifyError(error)}`);
  const twice = data.find(({ name }, index) => data.findIndex((other) => other.name === name) < index);
  if (twice !== undefined) throw new InvalidRequest(`${path}: "${twice.name}" stands there twice`);
  if (data.length > mostModels) throw new InvalidRequest(`${path}: ${data.length} models; ${mostModels} at most`);
  return data.map(({ name, bytes, load_seconds: loadSeconds }) => ({ name, bytes, loadSeconds }));
}

function readCapacity(value: string): number {
  const bytes = /^\d+(\.\d+)?(e\d+)?$/iu.test(value) ? Number(value) : Number.NaN;
  if (!Number.isFinite(bytes) || bytes <= 0)
    throw new InvalidRequest(`--capacity ${value}: a number of bytes above 0 is needed`);
  return bytes;
}

async function read(path: string): Promise<string> {
  try {
    // Editors on Windows begin a file with a byte-order mark.
    return (await readFile(path, "utf8")).replace(/^\uFEFF/u, "");
  } catch (error) {
    throw new InvalidRequest(`${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
