//! Findings in a single file: in its functions, its tasks' flags, its revisions.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::kind::Rule;
use super::layers::SourceFile;
use super::metadata::{Assignment, Function, Language, Statement, base_name, expansions, removes};
use super::programs::{self, Variables};
use super::python::Helpers;
use super::{python, wrappers};

/// Tasks that oe-core itself gives the network, for work that is not part of a build: `utility-tasks`, `devshell`,
/// `testimage`, `testsdk`, `go-mod-update-modules`, and the do_check of toolchains, which talk to a test machine.
const NETWORK_TASKS: [&str; 9] = [
    "do_fetch",
    "do_checkuri",
    "do_devshell",
    "do_pydevshell",
    "do_testimage",
    "do_testsdk",
    "do_testsdkext",
    "do_check",
    "do_update_modules",
];

/// Functions of oe-core around do_fetch that fetch nothing.
const HARMLESS: [&str; 4] =
    ["fetcher_hashes_dummyfunc", "write_srcrev", "extend_recipe_sysroot", "sstate_task_prefunc"];

/// What the functions of a file are run with.
struct FunctionContext {
    variables: Variables,
    helpers: Helpers,
}

/// The findings of a file, looked at with the programs that variables of all layers name.
pub(super) fn audit(file: &SourceFile, programs: &Variables) -> Vec<Finding> {
    let mut variables = programs.clone();
    variables.extend(exported(file));
    let around = FunctionContext { variables, helpers: helpers(file) };
    let mut findings = Vec::new();
    for statement in &file.statements {
        match statement {
            Statement::Function(function) => of_function(file, function, &around, &mut findings),
            Statement::Assignment(assignment) => of_assignment(file, assignment, &mut findings),
            Statement::Include(_) | Statement::Inherit(_) => {}
        }
    }
    findings
}

/// Variables that name a program (`NPM = "${STAGING_BINDIR_NATIVE}/npm"`), and the same one wherever they are set.
pub(super) fn programs(files: &[SourceFile]) -> Variables {
    let mut named: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for statement in files.iter().flat_map(|file| &file.statements) {
        let Statement::Assignment(assignment) = statement else { continue };
        if assignment.flag.is_none() {
            let value = assignment.value.text.trim();
            let kept = named.entry(base_name(&assignment.name)).or_insert(Some(value));
            *kept = kept.filter(|kept| *kept == value && programs::names_a_program(value));
        }
    }
    let certain = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    certain.collect()
}

/// The file's own Python functions that run a command which they are given.
fn helpers(file: &SourceFile) -> Helpers {
    let lines: Vec<&str> = file.text.split('\n').collect();
    let helpers = file.statements.iter().filter_map(|statement| match statement {
        Statement::Function(function) if function.language == Language::Python => {
            let head = lines.get(function.line - 1)?;
            python::helper(&format!("{head}\n{}\n", function.body.text))
        }
        _ => None,
    });
    helpers.collect()
}

/// Variables that every shell function of the file has in its environment.
fn exported(file: &SourceFile) -> Variables {
    let exported = file.statements.iter().filter_map(|statement| match statement {
        Statement::Assignment(a) if a.flag.is_none() && (a.export || a.name.starts_with("GO")) => {
            Some((a.name.clone(), a.value.text.trim().to_owned()))
        }
        _ => None,
    });
    exported.collect()
}

fn of_function(file: &SourceFile, function: &Function, around: &FunctionContext, findings: &mut Vec<Finding>) {
    let task = base_name(&function.name);
    if runs_on_the_device(task, function) {
        return;
    }
    if task == "do_fetch" {
        if does_something(function) {
            let adds = function.name != "do_fetch";
            let what = if adds { "code added to do_fetch" } else { "a do_fetch of its own" };
            findings.push(Finding::new(file, Rule::OwnFetch, function.line, "do_fetch", what));
        }
        return;
    }
    let place = if task.is_empty() { "anonymous Python" } else { task };
    let body = &function.body;
    let mut found = match function.language {
        Language::Shell => {
            let mut found = wrappers::script(&body.text, &around.variables);
            found.extend(inline_python(&body.text));
            found
        }
        Language::Python => python::body(&body.text, &around.helpers),
    };
    found.sort_by_key(|one| one.line);
    for one in found {
        let message = match one.reach.kind {
            Rule::DownloadPipe => format!("{place} runs or applies what `{}` downloads", one.reach.what),
            Rule::FloatingImage => format!("{place} takes the image {} without its digest", one.reach.what),
            Rule::PythonNetwork | Rule::FetcherCall => format!("{place} calls {}", one.reach.what),
            Rule::Autorev => format!("{place} sets a revision to ${{AUTOREV}}"),
            Rule::ContainerCommand if one.reach.what.contains('=') => format!("{place} sets {}", one.reach.what),
            _ => format!("{place} runs `{}`", one.reach.what),
        };
        findings.push(Finding::new(file, one.reach.kind, body.line + one.line, place, message));
    }
    if function.language == Language::Python {
        for (task, flag, value, line) in python::flags(&body.text) {
            of_flag(file, &task, &flag, &value, body.line + line, findings);
        }
    }
}

/// Scripts of packages that run on the device, or that tell the two cases apart (`$D` is only set while the image is
/// made).
fn runs_on_the_device(name: &str, function: &Function) -> bool {
    let on_the_device =
        ["pkg_postinst_ontarget", "pkg_prerm", "pkg_postrm"].iter().any(|script| name.starts_with(script));
    on_the_device || (name.starts_with("pkg_") && function.body.text.contains("$D"))
}

/// A do_fetch that is `:` only switches fetching off, and code that only ends the build under a condition fetches nothing.
fn does_something(function: &Function) -> bool {
    let idle = |line: &str| {
        let reads = || line.split_once(" = ").is_some_and(|(_, value)| value.starts_with("d.getVar("));
        matches!(line, "" | ":" | "true" | "pass" | "return" | "exit 0" | "return 0")
            || line.starts_with('#')
            || reads()
    };
    let refuses = |line: &str| {
        ["bbfatal", "bb.fatal(", "raise ", "exit 1", "bbwarn", "bb.warn(", "bbnote", "bb.note("]
            .iter()
            .any(|word| line.starts_with(word))
    };
    // Conditions, and the rest of a message over several lines. What a condition calls may do anything.
    let control = |line: &str| {
        let condition = ["if ", "elif ", "else", "fi", "then"].iter().any(|word| line.starts_with(word));
        (condition && !line.contains("$(") && !line.contains('`')) || line.starts_with(['"', '\'', ')'])
    };
    let lines: Vec<&str> = function.body.text.lines().map(str::trim).filter(|line| !idle(line)).collect();
    let only_refuses =
        lines.iter().any(|line| refuses(line)) && lines.iter().all(|line| refuses(line) || control(line));
    !lines.is_empty() && !only_refuses
}

/// `${@…}` in a shell function or a value: Python that runs when it is expanded.
fn inline_python(text: &str) -> Vec<wrappers::ReachedLine> {
    if !text.contains("${@") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for range in expansions(text).into_iter().filter(|range| text[range.clone()].starts_with("${@")) {
        let line = text[..range.start].matches('\n').count();
        let inside = python::script(text[range.start + 3..range.end - 1].trim(), &Variables::new());
        found.extend(inside.into_iter().map(|one| wrappers::ReachedLine { line: line + one.line, ..one }));
    }
    found
}

fn of_assignment(file: &SourceFile, assignment: &Assignment, findings: &mut Vec<Finding>) {
    if let Some(flag) = &assignment.flag {
        // A table of revisions, by whatever its flags are called.
        if let Some(at) = assignment.value.text.find("${AUTOREV}") {
            let message = format!("{}[{flag}] is ${{AUTOREV}}", assignment.name);
            findings.push(Finding::new(file, Rule::Autorev, assignment.value.line_at(at), &assignment.name, message));
        }
        return of_flag(file, base_name(&assignment.name), flag, &assignment.value.text, assignment.line, findings);
    }
    if removes(&assignment.name) {
        return;
    }
    for one in inline_python(&assignment.value.text) {
        let message = format!("{} is set by `{}`", assignment.name, one.reach.what);
        findings.push(Finding::new(file, one.reach.kind, assignment.value.line + one.line, &assignment.name, message));
    }
    if let Some(at) = floats(&assignment.name, &assignment.value.text) {
        let message = format!("{} is ${{AUTOREV}}", assignment.name);
        findings.push(Finding::new(file, Rule::Autorev, assignment.value.line_at(at), &assignment.name, message));
    }
}

/// Where a value asks for the newest revision. `AUTOINC` is what AUTOREV expands to.
fn floats(name: &str, value: &str) -> Option<usize> {
    if name == "AUTOREV" {
        return None;
    }
    let literal = || (name.starts_with("SRCREV") && value.trim() == "AUTOINC").then_some(0);
    value.find("${AUTOREV}").or_else(|| value.find("get_autorev(")).or_else(literal)
}

fn of_flag(file: &SourceFile, task: &str, flag: &str, value: &str, line: usize, findings: &mut Vec<Finding>) {
    match flag {
        "network" => {
            let known = NETWORK_TASKS.contains(&task) || task.ends_with("_setscene");
            // Only tasks have such a flag; others use the name for something else.
            if task.starts_with("do_") && !known && is_true(value) {
                let message = format!("{task} has the network");
                findings.push(Finding::new(file, Rule::TaskNetwork, line, task, message));
            }
        }
        "prefuncs" | "postfuncs" if task == "do_fetch" => {
            let foreign = |name: &&str| !HARMLESS.contains(name) && !only_checks(file, name);
            for name in value.split_whitespace().filter(foreign) {
                let message = format!("do_fetch runs {name} too");
                findings.push(Finding::new(file, Rule::OwnFetch, line, "do_fetch", message));
            }
        }
        _ => {}
    }
}

/// Whether the file has this function, and it only ends the build under a condition.
fn only_checks(file: &SourceFile, name: &str) -> bool {
    let mut functions = file.statements.iter().filter_map(|statement| match statement {
        Statement::Function(function) if base_name(&function.name) == name => Some(function),
        _ => None,
    });
    functions.next().is_some_and(|function| !does_something(function)) && functions.all(|more| !does_something(more))
}

/// `bb.utils.to_boolean`; a value that must be expanded counts as true.
fn is_true(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "n" | "no" | "f" | "false" | "off")
}
