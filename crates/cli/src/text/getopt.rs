//! Options of a command line by the rules of GNU `getopt_long`, and what help says about them.

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    /// It is a flag.
    No,
    /// A value has to follow.
    Yes,
    /// A value may be attached to its long name; without one it is empty.
    Maybe,
}

/// One option: its letter, its long names, and the name under which it is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    /// The name under which it is reported.
    pub(crate) id: &'static str,
    /// The letter, if there is one.
    pub(crate) short: Option<char>,
    /// Long names without their dashes; any may be cut short where that is unambiguous.
    pub(crate) long: &'static [&'static str],
    /// Whether a value follows.
    pub(crate) arg: Arg,
    /// What its value is called; empty where it has none.
    pub(crate) value: &'static str,
    /// What it means, in one line.
    pub(crate) about: &'static str,
    /// What its value can be.
    pub(crate) values: Values,
}

/// What the value of an option can be, for the completion of command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// Anything.
    Any,
    /// The name of a file.
    File,
    /// One of these words.
    Words(&'static [&'static str]),
}

impl Opt {
    const NAMELESS: Self = Self {
        id: "",
        short: None,
        long: &[],
        arg: Arg::No,
        value: "",
        about: "",
        values: Values::Any,
    };

    /// A flag.
    pub(crate) const fn flag(
        id: &'static str,
        short: Option<char>,
        long: &'static [&'static str],
    ) -> Self {
        Self { id, short, long, arg: Arg::No, ..Self::NAMELESS }
    }

    /// An option with a long name and a value that may be left out.
    pub(crate) const fn maybe(id: &'static str, long: &'static [&'static str]) -> Self {
        Self { id, short: None, long, arg: Arg::Maybe, ..Self::NAMELESS }
    }

    /// An option with a value.
    pub(crate) const fn value(
        id: &'static str,
        short: Option<char>,
        long: &'static [&'static str],
    ) -> Self {
        Self { id, short, long, arg: Arg::Yes, ..Self::NAMELESS }
    }

    /// Says what a flag means.
    pub(crate) const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Says what the value is called, and what the option means.
    pub(crate) const fn takes(self, value: &'static str, about: &'static str) -> Self {
        Self { value, about, ..self }
    }

    /// Says that the value is the name of a file.
    pub(crate) const fn file(self) -> Self {
        Self { values: Values::File, ..self }
    }

    /// Says that the value is one of these words, or often is.
    pub(crate) const fn words(self, words: &'static [&'static str]) -> Self {
        Self { values: Values::Words(words), ..self }
    }

    /// The option on a command line, as in `-f, --format FMT`.
    pub(crate) fn form(&self) -> String {
        let mut names: Vec<String> = self.short.iter().map(|letter| format!("-{letter}")).collect();
        names.extend(self.long.iter().map(|name| format!("--{name}")));
        let names = names.join(", ");
        match self.arg {
            Arg::No => names,
            Arg::Yes => format!("{names} {}", self.value),
            Arg::Maybe => format!("{names}[={}]", self.value),
        }
    }
}

/// A command line taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Options in order, by their `id`; flags have an empty value.
    pub(crate) options: Vec<(&'static str, String)>,
    /// Everything else in order.
    pub(crate) operands: Vec<String>,
}

impl Parsed {
    /// Whether the option was given.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == id)
    }

    /// The last value of the option.
    pub(crate) fn last(&self, id: &str) -> Option<&str> {
        self.options.iter().rev().find(|(given, _)| *given == id).map(|(_, value)| value.as_str())
    }

    /// All values of the option, in order.
    pub(crate) fn all(&self, id: &str) -> Vec<String> {
        let given = self.options.iter().filter(|(given, _)| *given == id);
        given.map(|(_, value)| value.clone()).collect()
    }
}

/// What counts as an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operands {
    /// Whatever does not begin with a dash, before, between and after options.
    Mixed,
    /// Everything from the first operand on.
    First,
    /// As [`Operands::Mixed`], and numbers with a minus sign.
    Negative,
}

/// Takes `args` apart.
///
/// # Errors
/// The text of `getopt_long` for the first option that is unknown, ambiguous, or lacks its value.
pub(crate) fn parse_options(
    opts: &[Opt],
    args: &[String],
    operands: Operands,
) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            parsed.operands.extend(args.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let (opt, full) = find_long(opts, name, long)?;
            let value = match (opt.arg, attached) {
                (Arg::No | Arg::Maybe, None) => String::new(),
                (Arg::No, Some(_)) => {
                    return Err(format!("option '--{full}' doesn't allow an argument"));
                }
                (Arg::Yes | Arg::Maybe, Some(value)) => value,
                (Arg::Yes, None) => match args.next() {
                    Some(value) => value.clone(),
                    None => return Err(format!("option '--{full}' requires an argument")),
                },
            };
            parsed.options.push((opt.id, value));
        } else if operands == Operands::Negative && is_negative(arg) {
            parsed.operands.push(arg.clone());
        } else if arg.len() > 1 && arg.starts_with('-') {
            let mut letters = arg[1..].chars();
            while let Some(letter) = letters.next() {
                let opt = opts
                    .iter()
                    .find(|opt| opt.short == Some(letter))
                    .ok_or_else(|| format!("invalid option -- '{letter}'"))?;
                let value = match opt.arg {
                    Arg::No | Arg::Maybe => String::new(),
                    Arg::Yes => {
                        let attached = std::mem::replace(&mut letters, "".chars());
                        match attached.as_str() {
                            "" => match args.next() {
                                Some(value) => value.clone(),
                                None => {
                                    return Err(format!(
                                        "option requires an argument -- '{letter}'"
                                    ));
                                }
                            },
                            value => value.to_owned(),
                        }
                    }
                };
                parsed.options.push((opt.id, value));
            }
        } else {
            parsed.operands.push(arg.clone());
            if operands == Operands::First {
                parsed.operands.extend(args.by_ref().cloned());
            }
        }
    }
    Ok(parsed)
}

/// A minus sign and a digit.
fn is_negative(arg: &str) -> bool {
    matches!(arg.as_bytes(), [b'-', b'0'..=b'9', ..])
}

/// The option with that long name, or the only one whose name begins so, with the full name.
///
/// `whole` is the argument with its value, for the message.
fn find_long(opts: &[Opt], name: &str, whole: &str) -> Result<(Opt, &'static str), String> {
    let named = || opts.iter().flat_map(|opt| opt.long.iter().map(move |long| (*opt, *long)));
    if let Some(exact) = named().find(|(_, long)| *long == name) {
        return Ok(exact);
    }
    let close: Vec<_> = named().filter(|(_, long)| long.starts_with(name)).collect();
    match close.as_slice() {
        [] => Err(format!("unrecognized option '--{whole}'")),
        [first, rest @ ..] if rest.iter().all(|(opt, _)| opt.id == first.0.id) => Ok(*first),
        several => {
            let names: Vec<_> = several.iter().map(|(_, long)| format!("'--{long}'")).collect();
            Err(format!("option '--{whole}' is ambiguous; possibilities: {}", names.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTS: &[Opt] = &[
        Opt::value("f", Some('f'), &["format"]),
        Opt::value("output", None, &["output"]),
        Opt::value("of", Some('O'), &["target-format", "output-format"]),
        Opt::flag("q", Some('q'), &["quiet"]),
        Opt::flag("p", Some('p'), &["progress"]),
        Opt::maybe("w", &["wait"]),
    ];

    fn parse(line: &str) -> Result<(String, String), String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = parse_options(OPTS, &args, Operands::Mixed)?;
        let options: Vec<_> = parsed.options.iter().map(|(id, v)| format!("{id}={v}")).collect();
        Ok((options.join(" "), parsed.operands.join(" ")))
    }

    fn ok(options: &str, operands: &str) -> Result<(String, String), String> {
        Ok((options.to_owned(), operands.to_owned()))
    }

    #[test]
    fn letters_bundle_and_values_attach() {
        assert_eq!(parse("-qp a -fqcow2 b"), ok("q= p= f=qcow2", "a b"));
        assert_eq!(parse("-qf raw - x"), ok("q= f=raw", "- x"));
        assert_eq!(parse("--format=raw --fo qcow2"), ok("f=raw f=qcow2", ""));
        assert_eq!(parse("-q -- -f"), ok("q=", "-f"));
        assert_eq!(parse("--format="), ok("f=", ""));
        assert_eq!(parse("--wait 5 --wait=7"), ok("w= w=7", "5"));
    }

    #[test]
    fn errors_are_worded_as_by_the_c_library() {
        for (line, text) in [
            ("-x", "invalid option -- 'x'"),
            ("-f", "option requires an argument -- 'f'"),
            ("--nosuch=1", "unrecognized option '--nosuch=1'"),
            ("--form", "option '--format' requires an argument"),
            ("--quiet=1", "option '--quiet' doesn't allow an argument"),
            ("--outp", "option '--outp' is ambiguous; possibilities: '--output' '--output-format'"),
        ] {
            assert_eq!(parse(line), Err(text.to_owned()), "{line}");
        }
        assert_eq!(parse("--output json"), ok("output=json", ""));
    }

    #[test]
    fn parsing_can_stop_at_the_first_operand() {
        let args = ["-q", "create", "-f"].map(str::to_owned);
        let parsed =
            parse_options(OPTS, &args, Operands::First).expect("the rest is not looked at");
        assert_eq!(parsed.operands, ["create", "-f"]);
    }

    #[test]
    fn a_negative_number_can_be_an_operand() {
        let args = ["a", "-1M", "-q"].map(str::to_owned);
        let parsed = parse_options(OPTS, &args, Operands::Negative).expect("it is a size");
        assert_eq!(parsed.operands, ["a", "-1M"]);
        assert!(parsed.has("q"));
        assert!(parse_options(OPTS, &args, Operands::Mixed).is_err());
    }
}
