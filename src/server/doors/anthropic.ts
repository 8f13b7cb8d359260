import type { Door } from "./door.ts";

export const anthropic: Door = {
  name: "anthropic",
  streamType: "text/event-stream",
  routes: {},
  errorBody: ({ message, code }) => ({ type: "error", error: { type: code, message } }),
};
