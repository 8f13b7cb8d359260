# Completion for ollm in bash. To install it: ollm completion --help
_ollm_complete() {
  local word="" before="" lines line index
  local -a words=()
  for ((index = 1; index <= COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    if [[ ${#words[@]} -gt 0 && -n $word && ($word == [:=]* || $before == [:=]*) ]]; then
      words[${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
    before=$word
  done
  local current=${words[${#words[@]} - 1]}
  local kept=$current
  [[ $word == [:=]* ]] || kept=${current%"$word"}
  COMPREPLY=()
  lines=$(command ollm __complete $((${#words[@]} - 1)) "${words[@]}" 2>/dev/null)
  if [[ $lines == :files ]]; then
    compopt -o default 2>/dev/null || while read -r line; do
      COMPREPLY+=("$line")
    done < <(compgen -f -- "${current#"$kept"}")
    return
  fi
  [[ -n $lines ]] || return
  while IFS=$'\t' read -r line word; do
    COMPREPLY+=("${line#"$kept"}")
  done <<<"$lines"
}
complete -F _ollm_complete ollm
