/** What assistants read → what somebody at a terminal types; the first that match, in this order. */
const words: readonly (readonly [tool: RegExp, command: string])[] = [
  [/\b(?:call )?pull_model (?:with model |\{"model": )"([^"\s]+)"\}?/gi, "ollm pull $1"],
  [/\b(?:call )?smart_load with model "([^"\s]+)" and dry_run/gi, "ollm load $1 --dry-run"],
  [/\b(?:call )?smart_load (?:with model |\{"model": )"([^"\s]+)"\}?/gi, "ollm load $1"],
  [/\b(?:call )?list_models with verbose\b/gi, "ollm models --verbose"],
  [/\b(?:call )?manage_model unload_all\b/gi, "ollm unload --all"],
  [/\b(?:call )?list_models\b/gi, "ollm models"],
  [/\b(?:call )?pull_model\b/gi, "ollm pull"],
  [/\b(?:call )?smart_load\b/gi, "ollm load"],
  [/\b(?:call )?system_status\b/gi, "ollm status"],
  [/\b(?:call )?list_templates\b/gi, "ollm template list"],
  [/\bcall again with overwrite: true\b/gi, "add --overwrite"],
  [/\bthen call (?:this )?again\b/g, "then try again"],
  [/\band call again\b/g, "and try again"],
];

/** The next step of an error, which names tools, in commands of the shell. */
export function inShellWords(hint: string): string {
  return words.reduce((text, [tool, command]) => text.replaceAll(tool, command), hint);
}
