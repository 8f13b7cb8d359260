/** Most clients show this to the assistant at the start of a session: when to offload, when not to, what to remember. */
export const instructions =
  "Local language models on the user's machine: free, private, offline. " +
  "Offload with route_and_generate: summaries, extraction, classification, translation, first drafts, boilerplate, " +
  "commit messages, bulk work over many items, and text that must not leave the machine. " +
  "Name long inputs in `files` instead of pasting them, and use output_path for long results. " +
  "Keep for yourself what needs your full reasoning, the conversation so far or current knowledge; " +
  "check what a small model returns before relying on it. " +
  "With no model yet, list_models suggests one and pull_model gets it. " +
  "Proactively remember lasting facts and preferences that the user states or corrects, under short stable keys, and " +
  "never secrets; recall before asking the user for what they may have told in an earlier session.";
