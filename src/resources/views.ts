import { defineResource } from "./definition.ts";

/** A build's page never changes: a host may keep it for an hour. */
const ttlMs = 3_600_000;

export const compareView = defineResource({
  name: "compare-view",
  title: "Comparison",
  description: "Answers side by side, with a button that picks the winner. Shown by hosts of MCP Apps.",
  uri: "ui://ollm/compare",
  isView: true,
  ttlMs,
  read: (_variables, { readPage }) => readPage("compare-view.html"),
});

export const statusView = defineResource({
  name: "status-view",
  title: "Status",
  description: "Memory, models in it, queue and engines. Shown by hosts of MCP Apps.",
  uri: "ui://ollm/status",
  isView: true,
  ttlMs,
  read: (_variables, { readPage }) => readPage("status-view.html"),
});
