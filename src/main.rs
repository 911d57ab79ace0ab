use std::process::ExitCode;

use kbuild::build::sandbox;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == sandbox::SUBCOMMAND).is_some() {
        sandbox::child_main(arguments);
    }
    ExitCode::SUCCESS
}
