//! Checks of `[options]`: the values of an option, and whether its rules can be met at all.

use indexmap::IndexMap;

use super::document::{Block, Blocks, Diagnostics};
use super::fragments;
use super::names;
use super::raw::{At, RawBoard, RawFragment, RawOption, RawRefusal, RawText};
use super::sources::check_boards;
use super::{BuildOption, OptionKind, Refusal, Setting};
use crate::error::{Error, Result};

/// Words that mean something else in a variable's name (BitBake manual, "Conditional Syntax (Overrides)" and "Appending
/// and Prepending (Override Style Syntax)"); `forcevariable` is the override with which kbuild pins floating refs.
const TAKEN: [&str; 4] = ["append", "prepend", "remove", "forcevariable"];

/// All valid options.
pub(super) fn check(
    blocks: &Blocks<RawOption>,
    boards: &Blocks<RawBoard>,
    fragments: &Blocks<RawFragment>,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, BuildOption> {
    let mut options = IndexMap::new();
    for (name, block) in blocks {
        let Some(raw) = &block.raw else { continue };
        let before = diagnostics.count();
        let whose = format!("option `{}`", name.escape_debug());
        if name == "with" {
            let fault = Error::input("an option cannot be called `with`").at(block.span.clone(), "this name");
            diagnostics.add(fault.help("the lock calls the closures of fragments so: choose another name"));
        }
        let kind = kind(&whose, raw, block, diagnostics);
        let for_boards = check_boards(&whose, raw.boards.as_ref(), boards, diagnostics);
        let conflicts = rules(&whose, name, "conflicts", raw, raw.conflicts.as_ref(), blocks, diagnostics);
        let requires = rules(&whose, name, "requires", raw, raw.requires.as_ref(), blocks, diagnostics);
        let refused = refused(&whose, raw, boards, diagnostics);
        let fragments = fragments::of_option(&whose, raw, fragments, diagnostics);
        if let Some(kind) = kind.filter(|_| diagnostics.count() == before) {
            let option = BuildOption { kind, boards: for_boards, conflicts, requires, refused, fragments };
            options.insert(name.clone(), option);
        }
    }
    check_words(blocks, diagnostics);
    // Rules that refer to a broken option would only give faults that follow from it.
    if options.len() == blocks.len() {
        check_possible(blocks, &options, boards, diagnostics);
    }
    options
}

fn kind(whose: &str, raw: &RawOption, block: &Block<RawOption>, diagnostics: &mut Diagnostics) -> Option<OptionKind> {
    match (&raw.flag, &raw.choices) {
        (Some(word), None) => {
            if let Some(default) = &raw.default {
                let fault = Error::input(format!("{whose} is a flag, and has no `default`"));
                diagnostics.add(
                    fault
                        .at(default.span.clone(), "a flag is off by default")
                        .help("remove it; a board that needs the flag has `set = { … = true }`"),
                );
            }
            diagnostics.take(check_word(word, raw.fragments.is_some()))?;
            Some(OptionKind::Flag { word: word.value.clone() })
        }
        (None, Some(choices)) => choice(whose, raw, choices, block, diagnostics),
        (Some(word), Some(_)) => {
            let fault = Error::input(format!("{whose} has both `flag` and `choices`"));
            diagnostics.add(fault.at(word.span.clone(), "a flag is on or off").help("keep one of them"));
            None
        }
        (None, None) => {
            let fault = Error::input(format!("{whose} has neither `flag` nor `choices`"));
            diagnostics.add(fault.at(block.span.clone(), "what can it be?").help(
                "add `flag = \"override\"`, or `choices = { a = \"override-a\", b = \"override-b\" }` and `default`",
            ));
            None
        }
    }
}

fn choice(
    whose: &str,
    raw: &RawOption,
    choices: &IndexMap<RawText, RawText>,
    block: &Block<RawOption>,
    diagnostics: &mut Diagnostics,
) -> Option<OptionKind> {
    for (choice, word) in choices {
        diagnostics.take(names::check_name("a choice", choice, &choice.span));
        diagnostics.take(check_word(word, true));
    }
    if choices.is_empty() {
        let fault = Error::input(format!("{whose} has no choices"));
        diagnostics
            .add(fault.at(block.span.clone(), "`choices` is empty").help("add `choices = { a = \"override-a\" }`"));
        return None;
    }
    let known = choices.keys().map(|choice| choice.as_str());
    let Some(default) = &raw.default else {
        let fault = Error::input(format!("{whose} has no `default`"));
        let help = format!("add `default = \"…\"`, one of: {}", known.collect::<Vec<_>>().join(", "));
        diagnostics.add(fault.at(block.span.clone(), "which choice is the default?").help(help));
        return None;
    };
    if !choices.contains_key(default) {
        let fault = Error::input(format!("the default of {whose} is not one of its choices"));
        diagnostics
            .add(fault.at(default.span.clone(), "no such choice").help(names::suggest("choices", default, known)));
        return None;
    }
    let choices = choices.iter().map(|(choice, word)| (choice.value.clone(), word.value.clone())).collect();
    Some(OptionKind::Choice { choices, default: default.value.clone() })
}

/// The choices that cannot be used.
fn refused(whose: &str, raw: &RawOption, boards: &Blocks<RawBoard>, diagnostics: &mut Diagnostics) -> Vec<Refusal> {
    raw.refused.iter().flatten().filter_map(|refusal| refusal_of(whose, raw, refusal, boards, diagnostics)).collect()
}

fn refusal_of(
    whose: &str,
    raw: &RawOption,
    refusal: &At<RawRefusal>,
    boards: &Blocks<RawBoard>,
    diagnostics: &mut Diagnostics,
) -> Option<Refusal> {
    let Some(known) = &raw.choices else {
        let fault = Error::input(format!("{whose} is a flag, and has no choices to refuse"));
        diagnostics.add(fault.at(refusal.span.clone(), "here").help("`boards` says which boards can have a flag"));
        return None;
    };
    let mut missing = |key: &str, help: &str| {
        let fault = Error::input(format!("a `refused` block of {whose} has no `{key}`"));
        diagnostics.add(fault.at(refusal.span.clone(), "here").help(help));
    };
    if refusal.choices.as_ref().is_none_or(|choices| choices.is_empty()) {
        missing("choices", "name them: `choices = [\"…\"]`");
    }
    if refusal.why.as_ref().is_none_or(|why| why.trim().is_empty()) {
        missing("why", "add the reason, which the error message shows: `why = \"…\"`");
    }
    let choices = refusal.choices.as_ref()?;
    names::check_known(whose, "choice", choices, known.keys().map(|choice| choice.as_str()), diagnostics);
    let boards = check_boards(&format!("a `refused` block of {whose}"), refusal.boards.as_ref(), boards, diagnostics);
    let why = refusal.why.as_ref()?.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(Refusal { choices: choices.iter().map(|choice| choice.value.clone()).collect(), boards, why })
}

/// An OVERRIDES word. BitBake tells overrides from other parts of a name by their first character (`bb.data_smart`,
/// `__override_regexp__`), allows no capitals after `:append` (`__setvar_regexp__`), and splits OVERRIDES at `:`. `_` was
/// its separator before 1.52.
fn check_word(word: &RawText, may_be_empty: bool) -> Result<()> {
    let fault = |why: &str| {
        let message = format!("`{}` cannot be an OVERRIDES word", word.escape_debug());
        Err(Error::input(message).at(word.span.clone(), why.to_owned()))
    };
    let help = "an OVERRIDES word consists of lower-case letters, digits and `.` `+` `-`, with a letter or digit first";
    if word.is_empty() && !may_be_empty {
        return fault("a flag without a word would have no effect").map_err(|error: Error| error.help(help));
    }
    if TAKEN.contains(&word.as_str()) {
        return fault("it has another meaning for BitBake").map_err(|error: Error| error.help("choose another word"));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !word.starts_with(['.', '+', '-']) && word.chars().all(|c| plain(c) || ".+-".contains(c)) {
        Ok(())
    } else {
        fault("BitBake would not take it as an override").map_err(|error: Error| error.help(help))
    }
}

/// Two settings with one word could not be told apart.
fn check_words(blocks: &Blocks<RawOption>, diagnostics: &mut Diagnostics) {
    let mut seen: IndexMap<&str, &RawText> = IndexMap::new();
    let options = blocks.values().filter_map(|block| block.raw.as_ref());
    let words = options.flat_map(|raw| raw.flag.iter().chain(raw.choices.iter().flat_map(IndexMap::values)));
    for word in words.filter(|word| !word.is_empty()) {
        if let Some(first) = seen.insert(word.as_str(), word) {
            let fault = Error::input(format!("the OVERRIDES word `{}` stands for two settings", word.escape_debug()));
            diagnostics.add(
                fault
                    .at(word.span.clone(), "again here")
                    .at(first.span.clone(), "first here")
                    .help("give each its own word: recipes could not tell them apart"),
            );
        }
    }
}

/// The `conflicts` or `requires` of a flag.
fn rules(
    whose: &str,
    name: &str,
    key: &str,
    raw: &RawOption,
    list: Option<&At<Vec<RawText>>>,
    blocks: &Blocks<RawOption>,
    diagnostics: &mut Diagnostics,
) -> Vec<Setting> {
    let Some(list) = list else { return Vec::new() };
    if raw.choices.is_some() {
        // A choice option always has a value, so such a rule would always have effect, whatever the choice.
        let fault =
            Error::input(format!("{whose} is a choice, and has no `{key}`")).at(list.span.clone(), "for flags only");
        diagnostics.add(fault.help("write the rule at the flag, and name the choice: `OPTION=CHOICE`"));
        return Vec::new();
    }
    let mut settings: Vec<Setting> = Vec::new();
    for text in &list.value {
        let Some(setting) = diagnostics.take(setting(text, blocks)) else { continue };
        if setting.option == name {
            let fault = Error::input(format!("{whose} names itself in `{key}`"));
            diagnostics.add(fault.at(text.span.clone(), "itself").help("remove it"));
        } else if let Some(first) = settings.iter().position(|known| *known == setting) {
            diagnostics.add(names::twice(whose, "setting", text, &list[first]));
        }
        settings.push(setting);
    }
    settings
}

/// Reads `FLAG` or `OPTION=CHOICE`.
pub(super) fn setting(text: &RawText, blocks: &Blocks<RawOption>) -> Result<Setting> {
    let (option, choice) =
        text.split_once('=').map_or((text.as_str(), None), |(option, choice)| (option, Some(choice)));
    let fault = |message: String| Error::input(message).at(text.span.clone(), "here");
    let Some(block) = blocks.get(option) else {
        let known = names::suggest("options", option, blocks.keys().map(String::as_str));
        return Err(fault(format!("there is no option `{}`", option.escape_debug())).help(known));
    };
    let setting = Setting { option: option.to_owned(), choice: choice.map(str::to_owned) };
    let choices = block.raw.as_ref().and_then(|raw| raw.choices.as_ref());
    match (block.raw.as_ref().map(|_| choices), choice) {
        // The other option is broken: its own fault is reported.
        (None, _) | (Some(None), None) => Ok(setting),
        (Some(None), Some(_)) => {
            Err(fault(format!("`{option}` is a flag, and has no choices")).help(format!("write `{option}`")))
        }
        (Some(Some(choices)), None) => {
            let all: Vec<String> = choices.keys().map(|choice| format!("{option}={}", **choice)).collect();
            Err(fault(format!("`{option}` needs a choice")).help(format!("write one of: {}", all.join(", "))))
        }
        (Some(Some(choices)), Some(choice)) if choices.keys().any(|known| **known == choice) => Ok(setting),
        (Some(Some(choices)), Some(choice)) => {
            let known = names::suggest("choices", choice, choices.keys().map(|choice| choice.as_str()));
            Err(fault(format!("`{option}` has no choice `{}`", choice.escape_debug())).help(known))
        }
    }
}

/// Every flag must be possible on every board that can have it. All that it requires, directly or not, must be free of
/// contradiction, and possible on that board too.
fn check_possible(
    blocks: &Blocks<RawOption>,
    options: &IndexMap<String, BuildOption>,
    boards: &Blocks<RawBoard>,
    diagnostics: &mut Diagnostics,
) {
    for (name, option) in options.iter().filter(|(_, option)| matches!(option.kind, OptionKind::Flag { .. })) {
        let Some(raw) = blocks.get(name).and_then(|block| block.raw.as_ref()) else { continue };
        let closure = closure(name, options);
        if let Some(why) = contradiction(&closure, options) {
            // A contradiction has no line of its own; it is shown at the start of this flag's rules.
            let rules = raw.requires.as_ref().or(raw.conflicts.as_ref());
            let fault = Error::input(format!("`{name}` can never be set: {why}"));
            let span = rules.map(|list| list.span.clone()).unwrap_or_default();
            let help = "change its `requires` or `conflicts`, or those of the options that it requires";
            diagnostics.add(fault.at(span, "these rules cannot be met").help(help));
            continue;
        }
        for needed in &closure[1..] {
            let Some(other) = options.get(&needed.option) else { continue };
            let names = boards.keys().map(String::as_str);
            let without: Vec<&str> = names.filter(|board| option.is_for(board) && !other.is_for(board)).collect();
            if !without.is_empty() {
                diagnostics.add(not_everywhere(name, raw, needed, &without));
            }
        }
    }
}

/// The fault of a flag that a board can have, without something that the flag requires.
fn not_everywhere(name: &str, raw: &RawOption, needed: &Setting, without: &[&str]) -> Error {
    let rule = raw.requires.iter().flat_map(|list| &list.value).find(|text| ***text == needed.to_string());
    let span = rule.map(|text| &text.span).or_else(|| raw.requires.as_ref().map(|list| &list.span));
    let boards = without.join(", ");
    Error::input(format!("`{name}` requires `{needed}`, which some of its boards cannot have: {boards}"))
        .at(span.cloned().unwrap_or_default(), "not for these boards")
        .help(format!("leave them out of the `boards` of `{name}`, or add them to those of `{}`", needed.option))
}

/// All settings that follow from a flag: itself first, then what it requires, directly or not. Only flags have rules.
fn closure(flag: &str, options: &IndexMap<String, BuildOption>) -> Vec<Setting> {
    let mut closure = vec![Setting { option: flag.to_owned(), choice: None }];
    let mut next = 0;
    while let Some(setting) = closure.get(next) {
        let required = options.get(&setting.option).map(|option| option.requires.clone()).unwrap_or_default();
        for setting in required {
            if !closure.contains(&setting) {
                closure.push(setting);
            }
        }
        next += 1;
    }
    closure
}

/// Why some settings contradict each other.
fn contradiction(settings: &[Setting], options: &IndexMap<String, BuildOption>) -> Option<String> {
    for (index, one) in settings.iter().enumerate() {
        if let Some(other) = settings[..index].iter().find(|other| other.option == one.option) {
            return Some(format!("it requires (directly or not) both `{other}` and `{one}`"));
        }
        let conflicts = options.get(&one.option).map_or(&[][..], |option| &option.conflicts);
        if let Some(other) = conflicts.iter().find(|conflict| settings.contains(conflict)) {
            return Some(format!("it requires (directly or not) both `{one}` and `{other}`, which conflict"));
        }
    }
    None
}
