/** A fake daemon process that loads a model, generates endlessly and never ends. See orphans.test.ts. */
import { startEngine, never } from "./engine-under-test.ts";

const [modulePath = "", file = ""] = process.argv.slice(2);
const { engine, runFolder } = await startEngine(modulePath, { "endless:tiny": file });
let isSaid = false;
await engine.generate(
  {
    model: "endless:tiny",
    messages: [{ role: "user", content: "Go on." }],
    maxTokens: 30_000,
    sampling: {},
    contextTokens: 32_768,
  },
  {
    text: () => {
      if (isSaid) return;
      isSaid = true;
      process.stderr.write(`RUN ${runFolder}\n`);
    },
    thinking: () => {},
    phase: () => {},
  },
  never,
);
