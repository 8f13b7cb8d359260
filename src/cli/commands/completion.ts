import { type Command, Argument } from "commander";
import type { CommandIo } from "../terminal/io.ts";
import { type Run, withExamples } from "./options.ts";

/** `ollm completion`. */
export function addCompletion(program: Command, run: Run): void {
  const command = program
    .command("completion")
    .helpGroup("Set up:")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish", "powershell"]))
    .summary("print a script that completes commands with Tab")
    .description("print a script that completes commands, options and model names with Tab")
    .action((shell: Shell) => run((io) => completion(shell, io)));
  withExamples(command, [
    [`echo 'eval "$(ollm completion bash)"' >> ~/.bashrc`, "install it for bash; works in new terminals"],
    [`echo 'eval "$(ollm completion zsh)"' >> ~/.zshrc`, "install it for zsh; works in new terminals"],
    ["ollm completion fish > ~/.config/fish/completions/ollm.fish", "install it for fish; works in new terminals"],
    [
      "Add-Content $PROFILE 'ollm completion powershell | Out-String | iex'",
      "install it for PowerShell; works in new terminals",
    ],
  ]);
}

export type Shell = "bash" | "zsh" | "fish" | "powershell";

/** `ollm completion SHELL`: prints the script that makes Tab complete the words of `ollm`. */
export function completion(shell: Shell, io: Pick<CommandIo, "content">): Promise<number> {
  io.content(scripts[shell]);
  return Promise.resolve(0);
}

/**
 * Each script asks `ollm __complete COUNT WORD...` (`complete.ts`): the words up to the cursor, of which the first COUNT
 * are complete. The typed words are only ever passed as arguments: nothing on the line is evaluated before Enter.
 */
const scripts: Readonly<Record<Shell, string>> = {
  // Works in bash 3.2 (macOS) and without the package bash-completion. Bash splits words at : and =, which are joined
  // here; it replaces only what follows them.
  bash: `# Completion for ollm in bash. To install it: ollm completion --help
_ollm_complete() {
  local word="" before="" lines line index
  local -a words=()
  for ((index = 1; index <= COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ \${#words[@]} -gt 0 && -n $word && ($word == [:=]* || $before == [:=]*) ]]; then
      words[\${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
    before=$word
  done
  local current=\${words[\${#words[@]} - 1]}
  local kept=$current
  [[ $word == [:=]* ]] || kept=\${current%"$word"}
  COMPREPLY=()
  lines=$(command ollm __complete $((\${#words[@]} - 1)) "\${words[@]}" 2>/dev/null)
  if [[ $lines == :files ]]; then
    compopt -o default 2>/dev/null || while read -r line; do
      COMPREPLY+=("$line")
    done < <(compgen -f -- "\${current#"$kept"}")
    return
  fi
  [[ -n $lines ]] || return
  while IFS=$'\\t' read -r line word; do
    COMPREPLY+=("\${line#"$kept"}")
  done <<<"$lines"
}
complete -F _ollm_complete ollm
`,
  zsh: `#compdef ollm
# Completion for ollm in zsh. To install it: ollm completion --help
_ollm() {
  local line word
  local -a lines values
  lines=("\${(@f)$(command ollm __complete $((CURRENT - 2)) "\${(@Q)words[2,CURRENT - 1]}" "\${(Q)PREFIX}" 2>/dev/null)}")
  if [[ $lines[1] == :files ]]; then
    [[ $PREFIX == -*=* ]] && compset -P '*='
    _files
    return
  fi
  for line in $lines; do
    word="\${\${line%%$'\\t'*}//:/\\\\:}"
    [[ $line == *$'\\t'* ]] && word+=":\${line#*$'\\t'}"
    values+=("$word")
  done
  _describe -t values ollm values
}
if [[ $funcstack[1] == _ollm ]]; then
  _ollm "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
  compdef _ollm ollm
fi
`,
  fish: `# Completion for ollm in fish. To install it: ollm completion --help
function __ollm_complete
    set -l before (commandline -opc)
    set -e before[1]
    set -l current (commandline -ct)
    set -l lines (command ollm __complete (count $before) $before "$current" 2>/dev/null)
    if test "$lines" = :files
        set -l path (string replace -r -- '^-.*?=' '' "$current")
        set -l option (string replace -- "$path" '' "$current")
        for each in (__fish_complete_path "$path")
            printf '%s%s\\n' "$option" $each
        end
    else
        printf '%s\\n' $lines
    end
end
complete -c ollm -f -a '(__ollm_complete)'
`,
  // Without results PowerShell completes the names of files.
  powershell: `# Completion for ollm in PowerShell. To install it: ollm completion --help
Register-ArgumentCompleter -Native -CommandName ollm -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $before = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.Extent.Text })
    ollm __complete $before.Count @before $wordToComplete 2>$null | Where-Object { $_ -ne ':files' } | ForEach-Object {
        $value, $meaning = $_ -split "\`t", 2
        if (-not $meaning) { $meaning = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $meaning)
    }
}
`,
};
