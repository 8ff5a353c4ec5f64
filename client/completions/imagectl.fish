# SPDX-License-Identifier: Apache-2.0
# fish completion of imagectl. Verbs and options are what imagectl's own help says, images and jobs what imaged says.

function __imagectl_verb
    for word in (commandline -opc)[2..-1]
        if not string match -q -- '-*' $word
            echo $word
            return 0
        end
    end
    return 1
end

function __imagectl_candidates
    set -l verb (__imagectl_verb)
    if string match -q -- '-*' (commandline -ct)
        imagectl $verb --help 2>/dev/null | string match -ra -- '(?:^|[ ,])--?[a-zA-Z][a-z-]*' | string trim -c ' ,' | sort -u
    else if test -z "$verb"
        imagectl --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'
    else
        set -l argument (imagectl $verb --help 2>/dev/null | sed -n 's/^Usage: imagectl [a-z-]* \[OPTION…\] *\[*\([A-Z]*\).*/\1/p')
        switch "$argument"
            case JOB
                imagectl jobs 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p'
            case IMAGE
                imagectl --json list 2>/dev/null | grep -o '"image":"[^"]*"' | cut -d'"' -f4
        end
    end
end

complete -c imagectl -f -a '(__imagectl_candidates)'
complete -c imagectl -l authfile -r -F
