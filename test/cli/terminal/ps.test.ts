import { expect, it } from "vitest";
import { renderLoaded } from "../../../src/cli/commands/status.ts";
import { silentIo as io } from "../../support/silent-io.ts";

const nowMs = Date.parse("2026-11-21T12:00:00Z");
const at = (seconds: number) => new Date(nowMs + seconds * 1_000).toISOString();

it("loaded models are shown with where they run, how long they stay and when they were last used", () => {
  const loaded = [
    {
      name: "a:1b",
      engine: "ollama",
      bytes: 1.5e9,
      processor: "GPU",
      context_tokens: 4096,
      is_pinned: true,
      last_used_at: at(-7_200),
    },
    {
      name: "b:7b",
      engine: "ollama",
      bytes: 5e9,
      processor: "60% GPU",
      context_tokens: 8192,
      expires_at: at(600),
      last_used_at: at(-300),
    },
    {
      name: "c:3b",
      engine: "llama-cpp",
      bytes: 2e9,
      processor: "CPU",
      context_tokens: 4096,
      expires_at: at(900),
      last_used_at: at(0),
    },
    { name: "foreign:8b", engine: "ollama", bytes: 5e9, expires_at: at(3e9) },
  ];
  const ram = {
    total_bytes: 32e9,
    available_bytes: 18e9,
    loaded_bytes: 13.5e9,
    swap_total_bytes: 0,
    swap_used_bytes: 0,
    gpus: [
      { name: "NVIDIA H100 80GB HBM3", total_bytes: 85_520_809_984, free_bytes: 79_587_966_976 },
      { name: "Other", total_bytes: 8e9 },
    ],
    loaded,
    sampled_at: at(0),
  };
  expect(renderLoaded(ram, io, nowMs)).toMatchInlineSnapshot(`
    "NAME        MEMORY  ON       UNTIL      USED           CONTEXT  ENGINE
    a:1b        1.5 GB  GPU      pinned     2 h 0 min ago     4096  ollama
    b:7b        5.0 GB  60% GPU  in 10 min  5 min ago         8192  ollama
    c:3b        2.0 GB  CPU      in 15 min  now               4096  llama-cpp
    foreign:8b  5.0 GB           always                             ollama
    total 13.5 GB in 4 models; 18.0 GB of 32.0 GB RAM available; 79.6 GB of 85.5 GB free on NVIDIA H100 80GB HBM3
    "
  `);
});

it("says how much of its last prompt a model had in a cache, where that is known", () => {
  const loaded = [
    { name: "c:3b", engine: "llama-cpp", bytes: 2e9, last_prompt: "cached 2,214 of 2,263 prompt tokens, from disk" },
  ];
  const ram = { total_bytes: 32e9, available_bytes: 18e9, loaded_bytes: 2e9, swap_total_bytes: 0, swap_used_bytes: 0 };
  const shown = renderLoaded({ ...ram, gpus: [], loaded, sampled_at: at(0) }, io, nowMs);
  expect(shown).toMatch(/LAST PROMPT.*\n.*cached 2,214 of 2,263 prompt tokens, from disk/);
});
