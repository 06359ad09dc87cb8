# fish completion of openmix, written by `openmix completion fish`.
function __openmix_at
    set -l typed (commandline -opc)
    test (count $typed) -gt (count $argv); or return 1
    for place in (seq (count $argv))
        test (string replace --all -- - _ $typed[(math $place + 1)]) = $argv[$place]; or return 1
    end
end
function __openmix_words
    test (count (commandline -opc)) -eq $argv[1]
end
function __openmix_recipes
    string split ' ' -- '@RECIPES@'
end
function __openmix_tables
    string split ' ' -- '@TABLES@'
end
complete -c openmix -f
@COMPLETIONS@
