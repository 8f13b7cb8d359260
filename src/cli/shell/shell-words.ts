type Word = readonly [inTools: RegExp, inCommands: string];

/** Up to the end of the thought: `a model that sees` of `pull_model with a model that sees, such as ...`. */
const what = /(an?(?:other)? [^,;()]+?)(?=\s*[,;(]|\.(?:\s|$)|$)/.source;

/** What assistants read → what somebody at a terminal types; each is looked for in what the ones before have left. */
const words: readonly Word[] = [
  // The daemon.
  [/\bwhile \S+ was under way, and its answer is lost\b/g, "meanwhile, and the answer is lost"],
  [/\bCalling again is safe\b/g, "Trying again is safe"],
  // Models.
  [/\b(?:call )?pull_model (?:with model |\{"model": )"([^"\s]+)"\}?/gi, "ollm pull $1"],
  [/\bpull_model with from\b/g, "ollm import FILE NAME"],
  [/\bcall pull_model again\b/gi, "run ollm pull again"],
  [/\bthe same pull_model call\b/g, "the same ollm pull"],
  [new RegExp(String.raw`\b(?:call )?pull_model (?:with )?${what}`, "gi"), "get $1 (ollm pull NAME)"],
  [/\bcall pull_model(?=[;,.]|$)/gi, "ollm pull NAME gets one"],
  [/\b(?:call )?pull_model\b/gi, "ollm pull"],
  [/\b(?:call )?list_models(?:,| with) (?:verbose|capability \w+)/gi, "ollm models --verbose"],
  [/\b(?:call )?list_models \{[^}]*\}/gi, "ollm models --verbose"],
  [/\b(?:call )?list_models\b/gi, "ollm models"],
  [/\b(?:call )?manage_model with action unpin for (?=\S+, (?!or\b))/gi, "ollm unpin NAME for each of "],
  [/\b(?:call )?manage_model with action unpin for\b/gi, "ollm unpin"],
  [/\b(?:call )?manage_model with action (pin|unpin|unload|show)\b/gi, "ollm $1"],
  [/\b(?:call )?manage_model (?:with )?unload_all\b/gi, "ollm unload --all"],
  [/\b(?:call )?manage_model with action delete\b/gi, "ollm rm"],
  [/\b(?:call )?manage_model\b/gi, "ollm rm"],
  [/\b(?:call )?smart_load with model "([^"\s]+)" and dry_run/gi, "ollm load $1 --dry-run"],
  [/\b(?:call )?smart_load (?:with model |\{"model": )"([^"\s]+)"\}?/gi, "ollm load $1"],
  [/\b(?:call )?smart_load\b/gi, "ollm load"],
  [/\b(?:call )?system_status\b/gi, "ollm status"],
  // Answers.
  [/\bcall route_and_generate again\b/gi, "try again"],
  [/\bcall route_and_generate with profile "([^"\s]+)"/gi, "use --profile $1"],
  [/\b(?:call )?route_and_generate\b/gi, "ollm run"],
  [/\bcontext_tokens\b/g, "--context-size"],
  [/\bmax_tokens\b/g, "--max-tokens"],
  [/\bLeave think out\b/gi, "leave --think out"],
  // What is kept.
  [/\bcall recall without a key\b/gi, "ollm memory list shows the keys"],
  [/\brecall shows\b/g, "ollm memory list shows"],
  [/\bor call forget\b/g, "or take it away with ollm memory forget"],
  [/\bstore it with force\b/g, "store it with --force"],
  [/\bleave scope out\b/gi, "leave --project out"],
  [/\bopen a project's folder in the client\b/g, "change into a project's folder"],
  [
    /\bName one in template \(list_templates\), or leave variables out\b/g,
    "name one with --template, or leave --var out",
  ],
  [/\b(?:call )?list_templates\b/gi, "ollm template list"],
  [/\b(?:call )?create_template\b/gi, "ollm template create"],
  [/\bcall again with overwrite: true\b/gi, "add --overwrite"],
  // Comparisons.
  [/\bcall compare first\b/gi, "ollm compare asks several models the same"],
  [/\b(?:call )?pick_winner with comparison_id "([^"\s]+)"/gi, "ollm winners --pick MODEL --comparison $1"],
  [/\b(?:call )?pick_winner with action "?undo"?/gi, "ollm winners --undo"],
  [/\b(?:call )?pick_winner with action "?list"?/gi, "ollm winners"],
  [/\b(?:call )?pick_winner\b/gi, "ollm winners --pick MODEL"],
  // Projects and settings.
  [/ or project_profile use\b/g, ""],
  [/\b(?:call )?project_profile\b/gi, "ollm project"],
  [/\bthis connection works in no project\b/g, "this folder lies in no project"],
  [/\bStart it in the project's folder, or name one in folder\b/g, "Change into the project's folder"],
  [/\b(?:call )?update_config\b/gi, "ollm config set"],
  // Whatever it was.
  [/\bcorrect the arguments and call again\b/gi, "correct it and try again"],
  [/\bcall (?:it |this )?again\b/gi, "try again"],
];

/** What a tool says to assistants, its next step above all, for somebody at a terminal: commands and flags, no tools. */
export function inShellWords(text: string): string {
  const said = words.reduce((before, [inTools, inCommands]) => before.replaceAll(inTools, inCommands), text);
  // A sentence that began with a large letter still does, unless a command begins it.
  return /^[A-Z]/.test(text) && !said.startsWith("ollm ")
    ? said.replace(/^[a-z]/, (letter) => letter.toUpperCase())
    : said;
}

/** Commands that a chat has itself, and may be typed there. */
const chatWords: readonly Word[] = [
  [/\bollm models(?: --verbose)?/g, "/model list"],
  [/\bollm (pin|unpin|unload)(?! --all)\b/g, "/model $1"],
  [/\bollm memory (list|forget)\b/g, "/memory $1"],
  [/\bollm template (list|create)\b/g, "/template $1"],
  [/\bollm compare\b/g, "/compare"],
  [/\bollm project (detect|init)\b/g, "/project $1"],
];

/** What `inShellWords` says, for somebody in a chat. */
export function inChatWords(text: string): string {
  return chatWords.reduce((before, [inCommands, inChat]) => before.replaceAll(inCommands, inChat), text);
}
