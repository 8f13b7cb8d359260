/**
 * A process that remembers until it is killed: `FOLDER FIRST COUNT`. Prints the number of each entry once it is
 * acknowledged, in the same turn; eight are under way at a time. Ends by itself when all are.
 */
import { writeSync } from "node:fs";
import { createDocumentFiles } from "../../src/orchestrator/documents/files.ts";
import { createMemories } from "../../src/orchestrator/recall/memories.ts";
import { rememberedValue } from "./remembered-value.ts";
import { plainSettings } from "./caller-settings.ts";

const [folder = "", first = "0", count = "0"] = process.argv.slice(2);
const memories = createMemories({
  now: Date.now,
  log: { debug: () => {}, info: () => {}, warn: (message) => process.stderr.write(`${message}\n`) },
  publish: () => {},
  files: createDocumentFiles(folder),
  embed: () => Promise.resolve(undefined),
});
const caller = { id: "1", client: "test", roots: [], settings: plainSettings, signal: new AbortController().signal };
const end = Number(first) + Number(count);
let next = Number(first);
async function work(): Promise<void> {
  while (next < end) {
    const index = next++;
    await memories.remember(caller, { key: `entry ${index}`, value: rememberedValue(index) });
    writeSync(1, `${index}\n`);
  }
}
await Promise.all(Array.from({ length: 8 }, work));
await memories.close();
