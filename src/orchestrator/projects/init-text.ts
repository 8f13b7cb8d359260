import type { Detected } from "./detect.ts";

/** A first `.ollm/project.yaml`: what was found is set, the rest stands there as comments to fill in. */
export function initText(profile: string, detected: Detected | undefined): string {
  const because = detected === undefined ? "" : `  # found: ${detected.evidence.slice(0, 3).join(", ")}`;
  return `# Settings of ollm for this project. They hold for requests that come from this folder, above those of
# OLLM_HOME/config.yaml and below OLLM_* variables, flags and the request itself.
# Whoever clones it is asked once before model, systemPrompt and templates are used, and again when they change.

# typescript, typescript-monorepo, python, rust, go, documentation; or fast, general, code, creative.
profile: ${profile}${because}

# Answers requests that name no model.
# model: qwen2.5-coder:7b

# Stands before every prompt that brings no system prompt of its own.
# systemPrompt: |
#   Answer in British English. We use tabs and no semicolons.

# tools:
#   enabled: [route_and_generate, system_status]   # only these
#   disabled: [pull_model]                         # all but these

# Profile of prompts that match no other: fast, general, code, creative.
# routing:
#   defaultProfile: code

# Templates of the project lie beside this file: .ollm/templates/NAME.yaml
`;
}
