# SPDX-License-Identifier: Apache-2.0
# bash completion of imagectl. Verbs and options are what imagectl's own help says, images and jobs what imaged says.

_imagectl_verbs() {
    imagectl --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'
}

_imagectl_options() {
    imagectl ${1:+"$1"} --help 2>/dev/null | grep -oE '(^|[ ,])--?[a-zA-Z][a-z-]*' | tr -d ' ,' | sort -u
}

# What an argument of the verb is: the word in capitals of its usage line.
_imagectl_argument() {
    imagectl "$1" --help 2>/dev/null | sed -n 's/^Usage: imagectl [a-z-]* \[OPTION…\] *\[*\([A-Z]*\).*/\1/p'
}

_imagectl_images() {
    imagectl --json list 2>/dev/null | grep -o '"image":"[^"]*"' | cut -d'"' -f4
}

_imagectl_jobs() {
    imagectl jobs 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p'
}

_imagectl() {
    local verb='' i candidates
    # An image is one word here, although readline splits at its colons.
    local line=${COMP_LINE:0:COMP_POINT} whole
    whole=${line##*[[:space:]]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -*) ;;
            *) verb=${COMP_WORDS[i]}; break ;;
        esac
    done
    if [[ $whole == -* ]]; then
        candidates=$(_imagectl_options "$verb")
    elif [[ -z $verb ]]; then
        candidates=$(_imagectl_verbs)
    else
        case ${COMP_WORDS[COMP_CWORD - 1]} in
            --authfile) compopt -o default; COMPREPLY=(); return ;;
        esac
        case $(_imagectl_argument "$verb") in
            JOB) candidates=$(_imagectl_jobs) ;;
            IMAGE) candidates=$(_imagectl_images) ;;
            *) compopt -o default; COMPREPLY=(); return ;;
        esac
    fi
    # Not compgen -W: it expands its words, and a name of an image may hold a command. What is offered is quoted for the same reason.
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ -n $candidate && $candidate == "$whole"* ]]; then
            printf -v candidate %q "$candidate"
            COMPREPLY+=("$candidate")
        fi
    done <<<"$candidates"
    # readline replaces only what stands behind the last colon.
    if [[ $whole == *:* && ${COMP_WORDBREAKS} == *:* ]]; then
        local front=${whole%"${whole##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$front"}")
    fi
}

complete -F _imagectl imagectl
