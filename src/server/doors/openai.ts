import type { Door } from "./door.ts";

export const openai: Door = {
  name: "openai",
  streamType: "text/event-stream",
  routes: {},
  errorBody: ({ message, code }) => ({ error: { message, type: "invalid_request_error", param: null, code } }),
};
