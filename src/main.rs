use std::process::ExitCode;

fn main() -> ExitCode {
    kbuild::build::sandbox::become_child_if_told();
    ExitCode::SUCCESS
}
