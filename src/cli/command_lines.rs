//! Command lines in the pages: each is one that the program takes, in blocks of code whole, within a line by its command and flags.

use std::sync::LazyLock;

use clap::Command;
use clap::error::ErrorKind;
use kbuild_test::pages::{Block, pages};
use regex::Regex;

use super::reference::cli;

/// Where a command line begins: at the start of a line, behind a prompt, or in a step of a pipeline.
static BEGIN: LazyLock<Regex> = LazyLock::new(|| {
    let begin = r#"^ *(?:\w*\$ |(?:- )?(?:run: |script: )?|(?:try \{ )?sh ["']|.*(?:; |&& |\$\(|"\$\())(kbuild .*)$"#;
    Regex::new(begin).expect("a valid pattern")
});

/// Where it ends: a comment, text of a help page in its column, the end of a quoted step, or what the shell joins to it.
static END: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#" #|  +\S|['"]\)?( \}|$)|\)"?( |$)| [|>;&]|;"#).expect("a valid pattern"));

/// What `kbuild matrix` gives the steps of a pipeline: the board, and options.
static OF_THE_MATRIX: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{\{ matrix\.args \}\}|\$KBUILD_ARGS|\$\{build\.args\}").expect("a valid pattern"));

/// `kbuild` and what stands behind it, in a line of code.
fn command_line(line: &str) -> Option<&str> {
    let whole = BEGIN.captures(line)?.get(1)?.as_str();
    let line = END.find(whole).map_or(whole, |end| &whole[..end.start()]);
    // Placeholders, as in the usage of a command, are not what anybody types.
    (!line.contains(['<', '[', '…'])).then_some(line.trim_end())
}

fn words(line: &str) -> Vec<String> {
    let quotes = ['\'', '"'];
    OF_THE_MATRIX
        .replace_all(line, "--board B")
        .split_whitespace()
        .map(|word| word.trim_matches(quotes).to_owned())
        .collect()
}

/// What clap says against a command line.
fn refused(cli: &Command, line: &str) -> Option<String> {
    let error = cli.clone().try_get_matches_from(words(line)).err()?;
    let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!shown).then(|| error.to_string())
}

fn is_of_commands(block: &Block) -> bool {
    ["", "console", "sh", "yaml", "groovy"].contains(&block.language.as_str())
}

#[test]
fn every_command_line_of_the_pages_is_taken() {
    let cli = cli();
    let (mut count, mut faults) = (0, Vec::new());
    for page in pages() {
        let lines = page.blocks.iter().filter(|block| is_of_commands(block)).flat_map(|block| block.text.lines());
        for line in lines.filter_map(command_line) {
            count += 1;
            faults.extend(refused(&cli, line).map(|error| format!("{}: {line}\n{error}", page.path)));
        }
    }
    assert!(count > 200, "the command lines are not where this test looks: {count}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The first word or flag of a line that the program does not know. Values are not looked at.
fn unknown<'a>(cli: &Command, line: &'a str) -> Option<&'a str> {
    let mut command = cli;
    let mut known = vec![cli];
    for word in line.split_whitespace().skip(1).take_while(|word| *word != "--") {
        if let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) {
            let flag = flag.split(['=', ',', '.', ')', ']', '|', '…']).next().unwrap_or(flag);
            let is_flag = |command: &&Command| command.get_arguments().any(|arg| arg.get_long() == Some(flag));
            if !known.iter().any(is_flag) {
                return Some(word);
            }
        } else if let Some(below) = command.find_subcommand(word) {
            command = below;
            known.push(below);
        } else if command.has_subcommands() && word.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Some(word);
        }
    }
    None
}

#[test]
fn commands_and_flags_within_lines_are_known() {
    let cli = cli();
    let mut faults = Vec::new();
    for page in pages() {
        let lines = page.spans.iter().flat_map(|span| span.split("; ")).filter(|line| line.starts_with("kbuild "));
        let unknown = lines.filter_map(|line| Some(format!("{}: {line}: {}", page.path, unknown(&cli, line)?)));
        faults.extend(unknown);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn command_lines_are_found_in_what_surrounds_them() {
    let found = |line| command_line(line).expect(line);
    assert_eq!(found("$ kbuild lock"), "kbuild lock");
    assert_eq!(found("here$ kbuild lock --locked"), "kbuild lock --locked");
    assert_eq!(found("kbuild lock          # a comment"), "kbuild lock");
    assert_eq!(found("      - run: kbuild diff x --markdown >> \"$OUT\""), "kbuild diff x --markdown");
    assert_eq!(found("            try { sh \"kbuild build ${build.args}\" } finally {"), "kbuild build ${build.args}");
    assert_eq!(found("run: echo \"matrix=$(kbuild matrix --for github)\" >> x"), "kbuild matrix --for github");
    assert_eq!(command_line("kbuild run [OPTIONS]"), None);
    assert_eq!(command_line("the program kbuild runs"), None);
    assert!(refused(&cli(), "kbuild lock --no-such-flag").is_some());
    assert!(refused(&cli(), "kbuild build --help").is_none());
    assert_eq!(unknown(&cli(), "kbuild cache push --nothing"), Some("--nothing"));
    assert_eq!(unknown(&cli(), "kbuild lokc"), Some("lokc"));
}
