//! Completions for bash.

use std::fmt::Write;

use super::completions::quoted;
use crate::img;
use crate::manual::Page;
use crate::text::{Arg, Opt, Values};

/// The script. Where the shell takes `--name=value` apart, the value is completed all the same.
pub(super) fn script(pages: &[Page]) -> String {
    let names: Vec<&str> = pages.iter().map(|page| page.name).collect();
    let mut text = String::from(HEAD);
    let _ = writeln!(text, "        '')");
    write_case(&mut text, img::TOP_OPTIONS.iter(), &names);
    for page in pages {
        let _ = writeln!(text, "        {})", page.name);
        write_case(&mut text, page.all_options(), &page.words);
    }
    text.push_str(TAIL);
    text
}

/// What can follow in one command.
fn write_case<'a>(
    text: &mut String,
    options: impl Iterator<Item = &'a Opt> + Clone,
    words: &[&str],
) {
    let names: Vec<String> = options.clone().flat_map(names_of).collect();
    let _ = writeln!(text, "            options={}", quoted(&names.join(" ")));
    if !words.is_empty() {
        let _ = writeln!(text, "            kind=words words={}", quoted(&words.join(" ")));
    }
    let mut valued = options.filter(|option| option.arg == Arg::Yes).peekable();
    if valued.peek().is_some() {
        text.push_str("            case $prev in\n");
        for option in valued {
            let names: Vec<String> = all_names_of(option).collect();
            let what = match option.values {
                Values::Any => "kind=none".to_owned(),
                Values::File => "kind=files".to_owned(),
                Values::Words(words) => format!("kind=words words={}", quoted(&words.join(" "))),
            };
            let _ = writeln!(text, "                {}) value=1 {what} ;;", names.join("|"));
        }
        text.push_str("            esac\n");
    }
    text.push_str("            ;;\n");
}

/// The names that are offered: long ones, or the letter where there is no other.
fn names_of(option: &Opt) -> Vec<String> {
    let long: Vec<String> = option.long.iter().map(|name| format!("--{name}")).collect();
    match (long.is_empty(), option.short) {
        (true, Some(letter)) => vec![format!("-{letter}")],
        _ => long,
    }
}

fn all_names_of(option: &Opt) -> impl Iterator<Item = String> + '_ {
    let short = option.short.iter().map(|letter| format!("-{letter}"));
    short.chain(option.long.iter().map(|name| format!("--{name}")))
}

const HEAD: &str = "\
# Completion of holstein for bash, as 'holstein completions bash' prints it.
_holstein() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev= command= prefix= i
    local kind=files options= words= value=
    COMPREPLY=()
    if (( COMP_CWORD > 0 )); then prev=${COMP_WORDS[COMP_CWORD-1]}; fi
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]] && (( COMP_CWORD > 1 )); then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    elif [[ $cur == --*=* ]]; then
        prev=${cur%%=*} prefix=${cur%%=*}= cur=${cur#*=}
    fi
    for (( i = 1; i < COMP_CWORD; i++ )); do
        case ${COMP_WORDS[i]} in
            -T|--trace)
                (( i++ ))
                if [[ ${COMP_WORDS[i]} == = ]]; then (( i++ )); fi
                ;;
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $command in
";

const TAIL: &str = "\
        *) return ;;
    esac
    if [[ -z $value && $cur == -* ]]; then kind=words words=$options; fi
    local IFS=$' \\t\\n'
    case $kind in
        words) COMPREPLY=($(compgen -P \"$prefix\" -W \"$words\" -- \"$cur\")) ;;
        files)
            IFS=$'\\n'
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -P \"$prefix\" -f -- \"$cur\"))
            ;;
    esac
}
complete -F _holstein holstein
";
