import type { Door } from "./door.ts";

export const ollama: Door = {
  name: "ollama",
  streamType: "application/x-ndjson",
  routes: {},
  errorBody: ({ message }) => ({ error: message }),
};
