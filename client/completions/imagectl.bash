# SPDX-License-Identifier: Apache-2.0
# bash completion of imagectl. Verbs and options are what imagectl's own help says, images and jobs what imaged says.

_imagectl_verbs() {
    imagectl --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'
}

_imagectl_options() {
    imagectl ${1:+"$1"} --help 2>/dev/null | sed -n 's/^  \(-[a-zA-Z]\), \(--[a-z-]*\).*/\1\n\2/p; s/^  \(--[a-z-]*\).*/\1/p'
}

# What an argument of the verb is: the word in capitals of its usage line.
_imagectl_argument() {
    imagectl "$1" --help 2>/dev/null | sed -n 's/^Usage: imagectl [a-z-]* \[OPTION…\] *\[*\([A-Z]*\).*/\1/p'
}

# What the option $2 of the verb $1 takes: the word behind it in the help, nothing for a flag.
_imagectl_value() {
    [[ $2 == -* && $2 != *[!a-zA-Z-]* ]] || return
    imagectl ${1:+"$1"} --help 2>/dev/null | sed -n "s/^  \(-., \)\{0,1\}$2=\([^ ]*\).*/\2/p; s/^  $2, --[a-z-]*=\([^ ]*\).*/\1/p"
}

# As JSON has them, but for those with characters that drive a terminal or are none of ASCII.
_imagectl_images() {
    imagectl --json list 2>/dev/null | grep -oE '"image":"(\\.|[^"\\])*"' | sed -e 's/^"image":"//; s/"$//; /^\([^\\]\|\\["\\]\)*$/!d; s/\\\(.\)/\1/g'
}

_imagectl_jobs() {
    imagectl jobs 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p'
}

_imagectl() {
    local verb='' option='' takes='' front='' i candidates
    # An image is one word here, although readline splits at its colons.
    local line=${COMP_LINE:0:COMP_POINT} whole
    local -a typed
    read -ra typed <<<"$line"
    whole=${line##*[[:space:]]}
    if [[ -n $whole ]]; then unset 'typed[-1]'; fi
    for ((i = 1; i < ${#typed[@]}; i++)); do
        case ${typed[i]} in
            -*) if [[ -z $verb && -n $(_imagectl_value '' "${typed[i]}") ]]; then ((++i)); fi ;;
            *) verb=${verb:-${typed[i]}} ;;
        esac
    done
    if [[ $whole == --*=* ]]; then
        option=${whole%%=*}
        front=$option=
    elif ((${#typed[@]} > 1)); then
        option=${typed[-1]}
    fi
    if [[ $option == -* ]]; then takes=$(_imagectl_value "$verb" "$option"); fi
    if [[ -z $takes ]]; then
        front=''
        if [[ $whole == -* ]]; then
            candidates=$(_imagectl_options "$verb")
        elif [[ -z $verb ]]; then
            candidates=$(_imagectl_verbs)
        else
            takes=$(_imagectl_argument "$verb")
            takes=${takes:-none}
        fi
    fi
    case $option=$takes in
        *=) ;;
        --progress=HOW) candidates=$'auto\nlines\njson\nnone' ;;
        --compression=KIND) candidates=$'gzip\nzstd\nzstd:chunked\nnone' ;;
        --delta=WHEN) candidates=$'auto\nnever' ;;
        *=JOB) candidates=$(_imagectl_jobs) ;;
        *=IMAGE) candidates=$(_imagectl_images) ;;
        *=PATH | *=FILE) compopt -o default; COMPREPLY=(); return ;;
        *) candidates='' ;;
    esac
    # Not compgen -W: it expands its words, and a name of an image may hold a command. What is offered is quoted for the same reason.
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ -n $candidate && $front$candidate == "$whole"* ]]; then
            printf -v candidate %q "$front$candidate"
            COMPREPLY+=("$candidate")
        fi
    done <<<"$candidates"
    # readline replaces only what stands behind the last colon or equals sign.
    if [[ $whole == *[:=]* && ${COMP_WORDBREAKS} == *:* ]]; then
        front=${whole%"${whole##*[:=]}"}
        COMPREPLY=("${COMPREPLY[@]#"$front"}")
    fi
}

complete -F _imagectl imagectl
