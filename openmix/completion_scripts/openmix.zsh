#compdef openmix
# zsh completion of openmix, written by `openmix completion zsh`.
_openmix() {
    local -a commands verbs flags choices names
    local command place=value prev="${words[CURRENT-1]}" typed="${words[CURRENT]}"
    if [[ $typed == --*=* ]]; then
        prev="${typed%%=*}" typed="${typed#*=}"
        compset -P '*='
    fi
    if ((CURRENT == 2)); then
        commands=(@COMMANDS@)
        _describe -t commands command commands
        return
    fi
    command="${words[2]//-/_}"
    if [[ $command == benchmark ]]; then
        if ((CURRENT == 3)); then
            verbs=(@VERBS@)
            _describe -t commands verb verbs
            return
        fi
        command="benchmark ${words[3]}"
    fi
    case "$command" in
@CASES@
    esac
    if [[ $typed == -* ]]; then
        _describe -o option flags
        return
    fi
    case "$place" in
        words) compadd -a choices ;;
        recipe) names=(@RECIPES@); compadd -a names; _files ;;
        table) names=(@TABLES@); compadd -a names; _files ;;
        folder) _files -/ ;;
        file) _files ;;
    esac
}
if [[ ${funcstack[1]} == _openmix ]]; then
    _openmix "$@"
else
    compdef _openmix openmix
fi
