import type { Detected } from "./detect.ts";

/** The text of a new `.ollm/project.yaml`: sets the detected profile and has all other settings as comments. */
export function initText(profile: string, detected: Detected | undefined): string {
  const because = detected === undefined ? "" : `  # found: ${detected.evidence.slice(0, 3).join(", ")}`;
  return `# Settings of ollm for requests from this folder. They override OLLM_HOME/config.yaml; OLLM_* variables, flags and
# the inputs of a request override them. After cloning the project, users are asked once before model, systemPrompt and
# templates are used, and again when they change.

# typescript, typescript-monorepo, python, rust, go, documentation; or fast, general, code, creative.
profile: ${profile}${because}

# Model of requests that name none.
# model: qwen2.5-coder:7b

# System prompt of requests without one.
# systemPrompt: |
#   Answer in British English. We use tabs and no semicolons.

# tools:
#   enabled: [route_and_generate, system_status]   # only these
#   disabled: [pull_model]                         # all but these

# Profile of prompts that match no other: fast, general, code, creative.
# routing:
#   defaultProfile: code

# Templates of the project are next to this file: .ollm/templates/NAME.yaml
`;
}
