# SPDX-License-Identifier: Apache-2.0
# fish completion of imagectl. Verbs and options are what imagectl's own help says, images and jobs what imaged says.

# What the option $argv[1] of the verb $argv[2] takes: the word behind it in the help, nothing for a flag.
function __imagectl_value
    string match -qr -- '^-[a-zA-Z-]+$' "$argv[1]"; or return
    imagectl $argv[2] --help 2>/dev/null | sed -n "s/^  \(-., \)\{0,1\}$argv[1]=\([^ ]*\).*/\2/p; s/^  $argv[1], --[a-z-]*=\([^ ]*\).*/\1/p"
end

function __imagectl_verb
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if not string match -q -- '-*' $word
            echo $word
            return 0
        else if test -n "$(__imagectl_value $word)"
            set skip 1
        end
    end
    return 1
end

function __imagectl_candidates
    set -l verb (__imagectl_verb)
    set -l token (commandline -ct)
    set -l option (commandline -opc)[-1]
    set -l front ''
    if string match -q -- '--*=*' "$token"
        set option (string replace -r '=.*' '' -- $token)
        set front "$option="
    end
    set -l takes (__imagectl_value "$option" $verb)
    if test -z "$takes"
        set front ''
        if string match -q -- '-*' "$token"
            imagectl $verb --help 2>/dev/null | sed -n 's/^  \(-[a-zA-Z]\), \(--[a-z-]*\).*/\1\n\2/p; s/^  \(--[a-z-]*\).*/\1/p'
            return
        else if test -z "$verb"
            imagectl --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'
            return
        end
        set takes (imagectl $verb --help 2>/dev/null | sed -n 's/^Usage: imagectl [a-z-]* \[OPTION…\] *\[*\([A-Z]*\).*/\1/p')
    end
    switch "$option=$takes"
        case --progress=HOW
            printf "$front%s\n" auto lines json none
        case --compression=KIND
            printf "$front%s\n" gzip zstd zstd:chunked none
        case --delta=WHEN
            printf "$front%s\n" auto never
        case '*=JOB'
            imagectl jobs 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p'
        case '*=IMAGE'
            # As JSON has them, but for those with characters that drive a terminal or are none of ASCII.
            set -l images (imagectl --json list 2>/dev/null | grep -oE '"image":"(\\\\.|[^"\\\\])*"' | sed -e 's/^"image":"//; s/"$//; /^\([^\\\\]\|\\\\["\\\\]\)*$/!d; s/\\\\\(.\)/\1/g')
            printf "$front%s\n" $images
        case '*=PATH' '*=FILE'
            __fish_complete_path (string replace -- "$front" '' "$token") | string replace -r '^' "$front"
    end
end

complete -c imagectl -f -a '(__imagectl_candidates)'
