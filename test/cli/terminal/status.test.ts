import { expect, it } from "vitest";
import { renderStatus } from "../../../src/cli/commands/status.ts";
import { formatConnections } from "../../../src/orchestrator/util/format-bytes.ts";
import { silentIo as io } from "../../support/silent-io.ts";

it("every warning is shown once, and what is loaded with whether it is pinned", () => {
  const warning = "CPU busy (load 3.0 per core): answers will be slow";
  const now = {
    version: "1.2.3",
    home: "/home/ann/.ollm",
    privacy: "local_only",
    ram: { total_bytes: 32e9, available_bytes: 18e9, swap_used_bytes: 0, warning },
    gpus: [
      { name: "NVIDIA H100 80GB HBM3", total_bytes: 85_520_809_984, free_bytes: 79_587_966_976 },
      { name: "Other", total_bytes: 8e9 },
    ],
    loaded: [
      { name: "a:1b", engine: "ollama", bytes: 1.5e9, is_pinned: true },
      { name: "b:7b", engine: "ollama", bytes: 5e9 },
    ],
    engines: [
      {
        id: "ollama",
        health: "ok",
        version: "0.33.0",
        model_count: 2,
        connections: {
          open: 1,
          limit: 10,
          running: 0,
          queued: 1,
          for_answers: 3,
          answering: 2,
          requests: 210,
          opened: 4,
        },
      },
    ],
    remote_requests: 0,
    remote_text: "No prompt has left this machine since 1 November 2026",
    savings: "0.42 USD this month (1.2 M local tokens at some-model prices)",
    warnings: [warning],
  };
  expect(renderStatus(now, io)).toMatchInlineSnapshot(`
    "memory     18.0 GB of 32.0 GB available
    card       NVIDIA H100 80GB HBM3, 79.6 GB free of 85.5 GB
    card       Other, 8.0 GB
    loaded     a:1b 1.5 GB (pinned), b:7b 5.0 GB
    ollama     ok; 0.33.0; 2 models
               connections: 1 of 10, 3 for answers, 1 request waiting; 98 % of 210 requests reused a connection
    privacy    local only. No prompt has left this machine since 1 November 2026
    saved      0.42 USD this month (1.2 M local tokens at some-model prices): ollm stats --money
    dashboard  ollm dashboard
    home       /home/ann/.ollm (version 1.2.3)
    ! CPU busy (load 3.0 per core): answers will be slow
    "
  `);
});

it("a server that refused every request reused no connection, and no share is named", () => {
  const refused = { open: 0, limit: 10, for_answers: 0, requests: 0, opened: 0 };
  expect(formatConnections(refused)).toBe("connections: 0 of 10, 0 for answers");
});
