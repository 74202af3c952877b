//! The program: commands on images, under four names.

mod disk;
mod img;
mod interrupt;
mod io;
mod local_time;
mod manual;
mod native;
mod nbd;
mod node;
mod objects;
#[cfg(test)]
mod option_table;
mod out;
mod output_form;
mod personality;
mod text;
mod words;
mod zero;

use std::process::ExitCode;

use personality::Personality;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|argument| argument.into_string());
    let program = arguments.next().and_then(Result::ok).unwrap_or_default();
    let personality = Personality::of(&program);
    personality::set(personality);
    let status = match arguments.collect::<Result<Vec<String>, _>>() {
        Ok(arguments) => run(personality, &arguments),
        Err(argument) => {
            out::error_line(&format!("argument {argument:?} is not UTF-8"));
            1
        }
    };
    out::flush();
    ExitCode::from(status)
}

/// Runs the command line as the program was called.
fn run(personality: Personality, arguments: &[String]) -> u8 {
    if let (Personality::Native, [command, rest @ ..]) = (personality, arguments)
        && let Some(status) = native::run(command, rest)
    {
        return status;
    }
    match (personality, arguments) {
        (Personality::Nbd, _) => nbd::run(arguments),
        (Personality::Io, _) => io::run(arguments),
        (Personality::Native, [command, rest @ ..]) if command == "io" => io::run(rest),
        (Personality::Native, [command, rest @ ..]) if command == "nbd" => nbd::run(rest),
        (Personality::Native | Personality::Img, _) => img::run(arguments),
    }
}
