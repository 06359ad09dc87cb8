# bash completion of openmix, written by `openmix completion bash`.
_openmix() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    local command flags='' choices='' place=value found=() before=''
    COMPREPLY=()
    # `--option=value` is one word or three, by whether = is in COMP_WORDBREAKS.
    if [[ $cur == = ]]; then
        cur=''
    elif [[ $prev == = ]]; then
        prev="${COMP_WORDS[COMP_CWORD-2]}"
    elif [[ $cur == --*=* ]]; then
        prev="${cur%%=*}" before="${cur%%=*}=" cur="${cur#*=}"
    fi
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W '@COMMANDS@ --help --version' -- "$cur"))
        return
    fi
    command="${COMP_WORDS[1]//-/_}"
    if [[ $command == benchmark ]]; then
        if ((COMP_CWORD == 2)); then
            COMPREPLY=($(compgen -W '@VERBS@ --help' -- "$cur"))
            return
        fi
        command="benchmark ${COMP_WORDS[2]}"
    fi
    case "$command" in
@CASES@
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
        return
    fi
    case "$place" in
        words) COMPREPLY=($(compgen -W "$choices" -- "$cur")) ;;
        recipe) COMPREPLY=($(compgen -W '@RECIPES@' -- "$cur")) ;;
        table) COMPREPLY=($(compgen -W '@TABLES@' -- "$cur")) ;;
    esac
    case "$place" in
        folder) mapfile -t found < <(compgen -d -- "$cur") ;;
        file | recipe | table) mapfile -t found < <(compgen -f -- "$cur") ;;
    esac
    if ((${#found[@]})); then
        COMPREPLY+=("${found[@]}")
        # A name with blanks is quoted, and a folder gets a slash.
        compopt -o filenames 2>/dev/null
    fi
    COMPREPLY=("${COMPREPLY[@]/#/$before}")
}
complete -F _openmix openmix
