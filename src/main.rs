//! The `kbuild` binary: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    kbuild::cli::main()
}
