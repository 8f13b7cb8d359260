# Completion for ollm in fish. To install it: ollm completion --help
function __ollm_complete
    set -l before (commandline -opc)
    set -e before[1]
    set -l current (commandline -ct)
    set -l lines (command ollm __complete (count $before) $before "$current" 2>/dev/null)
    if test "$lines" = :files
        set -l path (string replace -r -- '^-.*?=' '' "$current")
        set -l option (string replace -- "$path" '' "$current")
        for each in (__fish_complete_path "$path")
            printf '%s%s\n' "$option" $each
        end
    else
        printf '%s\n' $lines
    end
end
complete -c ollm -f -a '(__ollm_complete)'
