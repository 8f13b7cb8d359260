#compdef ollm
# Completion for ollm in zsh. To install it: ollm completion --help
_ollm() {
  local line word
  local -a lines values
  lines=("${(@f)$(command ollm __complete $((CURRENT - 2)) "${(@Q)words[2,CURRENT - 1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  if [[ $lines[1] == :files ]]; then
    [[ $PREFIX == -*=* ]] && compset -P '*='
    _files
    return
  fi
  for line in $lines; do
    word="${${line%%$'\t'*}//:/\\:}"
    [[ $line == *$'\t'* ]] && word+=":${line#*$'\t'}"
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
