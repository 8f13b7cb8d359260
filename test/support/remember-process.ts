/**
 * A process that saves entries, for tests that kill it: `FOLDER FIRST COUNT`. Prints the number of each entry in the same
 * turn in which it is acknowledged. Writes eight at a time and exits when all are saved.
 */
import { writeSync } from "node:fs";
import { createDocumentFiles } from "../../src/orchestrator/storage/document-files.ts";
import { StoredMemories } from "../../src/orchestrator/recall/memories.ts";
import { rememberedValue } from "./remembered-value.ts";
import { plainSettings } from "./caller-settings.ts";

const [folder = "", first = "0", count = "0"] = process.argv.slice(2);
const memories = new StoredMemories({
  now: Date.now,
  log: { debug: () => {}, info: () => {}, warn: (message) => process.stderr.write(`${message}\n`) },
  emit: () => {},
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
