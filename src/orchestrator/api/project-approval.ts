import type { ProjectQuestion } from "./facade-projects.ts";
import type { NeedsInput } from "./needs-input.ts";

/** The name of the answer contains the hash, so that it applies only to the content the user saw. */
const answerName = (digest: string): string => `approve_${digest.slice(0, 16)}`;

/** Asks the user to approve the settings and templates of the project in `folder`. */
export function projectApproval({ message, digest }: ProjectQuestion, folder: string | undefined): NeedsInput {
  const field = {
    type: "boolean",
    title: "Trust this project",
    description: "Yes, I trust this project",
    isRequired: true,
  } as const;
  return {
    message,
    fields: { [answerName(digest)]: field },
    userOnly: { step: "approveProject", ...(folder !== undefined && { folder }) },
  };
}

/** The answer for the content with this hash; undefined if there is none. */
export function approvalIn(answers: Readonly<Record<string, unknown>>, digest: string): boolean | undefined {
  const name = answerName(digest);
  return Object.hasOwn(answers, name) ? answers[name] === true : undefined;
}
