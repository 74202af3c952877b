//! Arguments.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::rows;

pub(crate) const USAGE: &str = "\
usage: holstein-bench [--quick] [--only NAME[,NAME]] [--json] [--dir PATH] [--rounds N] [--list]

  --quick     fewer rounds, smaller files: seconds instead of minutes
  --only      the rows whose names begin with one of these
  --json      one JSON object instead of the table
  --dir       where the files are made; the default is the system's folder for temporary files
  --rounds    how many rounds of each row
  --list      the names of the rows
";

/// What to measure, and how.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) dir: Option<PathBuf>,
    rounds: Option<usize>,
    only: Vec<String>,
}

impl Options {
    /// `None` if help or a list was asked for, and printed as far as it is a list.
    pub(crate) fn parse(args: &[String]) -> Result<Option<Self>> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || match args.next() {
                Some(value) => Ok(value),
                None => bail!("{arg} needs a value"),
            };
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--dir" => options.dir = Some(PathBuf::from(value()?)),
                "--rounds" => {
                    let rounds = value()?.parse()?;
                    ensure!(rounds > 0, "--rounds needs at least 1");
                    options.rounds = Some(rounds);
                }
                "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
                "--list" => {
                    rows::NAMES.iter().for_each(|name| println!("{name}"));
                    std::process::exit(0);
                }
                "--help" | "-h" => return Ok(None),
                other => bail!("no option {other:?}; --help lists them"),
            }
        }
        for only in &options.only {
            ensure!(
                rows::NAMES.iter().any(|name| name.starts_with(only.as_str())),
                "no row begins with {only:?}; --list names them"
            );
        }
        Ok(Some(options))
    }

    /// Whether a row was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// `full`, or `quick` if that was asked for.
    pub(crate) fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// How many rounds of a row that has `full` or `quick` of them by itself.
    pub(crate) fn rounds(&self, full: usize, quick: usize) -> usize {
        self.rounds.unwrap_or(self.choose(full, quick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Options>> {
        Options::parse(&args.iter().map(|&a| a.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_chosen_by_the_start_of_their_names() -> Result<()> {
        let options = parse(&["--only", "read,open", "--quick"])?.expect("no help was asked for");
        assert!(options.wants("read-4k") && options.wants("open") && !options.wants("seq-1m"));
        assert_eq!(options.rounds(9, 3), 3);
        Ok(())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for args in [&["--only", "nothing"][..], &["--rounds", "0"], &["--dir"], &["x"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
