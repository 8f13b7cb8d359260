import type { ProjectQuestion } from "./facade-projects.ts";
import type { NeedsInput } from "./needs-input.ts";

/** The user is asked about exactly this content: its hash is part of the answer's name. */
const answerName = (digest: string): string => `approve_${digest.slice(0, 16)}`;

/** The question for the user about what the project in `folder` brings along. */
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

/** What the answers say of this very content: yes, no, or undefined where they are about another one. */
export function approvalIn(answers: Readonly<Record<string, unknown>>, digest: string): boolean | undefined {
  const name = answerName(digest);
  return Object.hasOwn(answers, name) ? answers[name] === true : undefined;
}
