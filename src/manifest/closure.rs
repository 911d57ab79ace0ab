//! Checks of `[closure]` and `[registries]`, and the configurations whose closures a board has.

use indexmap::IndexMap;

use super::document::{Blocks, Diagnostics};
use super::fragments::check_names;
use super::raw::{RawClosure, RawFragment, RawOption, RawText};
use super::{
    Board, ClosureScope, ClosureSettings, History, Manifest, Selection, Variant, mirrors, names, select, together,
};
use crate::error::{Error, Result};
use crate::files::MANIFEST;
use crate::source::SourceUrl;

/// What the name of a closure with a fragment of `--with` begins with. An option cannot be called so.
const WITH: &str = "with=";

/// The default build host. It does not depend on this machine: a lock has nothing of the machine that made it.
const HOST: &str = "x86_64";

/// The valid parts of a `[closure]`.
pub(super) fn check(
    raw: &RawClosure,
    options: &Blocks<RawOption>,
    fragments: &Blocks<RawFragment>,
    diagnostics: &mut Diagnostics,
) -> ClosureSettings {
    let mut settings = ClosureSettings::default();
    if let Some(lock) = &raw.lock {
        settings.lock = diagnostics.take(scope(lock)).unwrap_or_default();
    }
    settings.together = together::check(raw.together.as_ref(), settings.lock, options, diagnostics);
    if let Some(with) = &raw.with {
        check_names("[closure] `with`", with, fragments, diagnostics);
        if settings.lock.leaves_choices_out() {
            let fault = Error::input("[closure] `with` has no effect, since `lock` leaves choices out");
            diagnostics
                .add(fault.at(with.span.clone(), "here").help("remove it, or set `lock` to `choices` or `pairs`"));
        }
        settings.with = with.iter().map(|name| name.value.clone()).collect();
    }
    if let Some(hosts) = &raw.hosts {
        names::check_repeated("[closure]", "host", hosts, diagnostics);
        if hosts.is_empty() {
            let fault = Error::input("[closure] names no build host").at(hosts.span.clone(), "empty");
            diagnostics.add(fault.help(format!("remove the key: the default is `{HOST}`")));
        }
        settings.hosts = hosts.iter().filter_map(|host| diagnostics.take(check_host(host))).collect();
    }
    for text in raw.history.iter().flatten() {
        settings.history.extend(diagnostics.take(history(text)));
    }
    for recipe in raw.moved_tags.iter().flatten() {
        if diagnostics.take(names::check_name("a recipe", recipe, &recipe.span)).is_some() {
            settings.moved_tags.push(recipe.value.clone());
        }
    }
    for (pattern, why) in raw.mask.iter().flatten() {
        if let Some(mask) = diagnostics.take(mask(pattern, why)) {
            settings.mask.insert(mask.0, mask.1);
        }
    }
    settings
}

fn scope(text: &RawText) -> Result<ClosureScope> {
    match text.as_str() {
        "none" => Ok(ClosureScope::None),
        "defaults" => Ok(ClosureScope::Defaults),
        "choices" => Ok(ClosureScope::Choices),
        "pairs" => Ok(ClosureScope::Pairs),
        other => Err(Error::input(format!("`{}` is not a value of `lock`", other.escape_debug()))
            .at(text.span.clone(), "here")
            .help(
                "write `none`, `defaults` (each board with its options' defaults), `choices` (each other choice too) or `pairs` \
                 (each two choices together too)",
            )),
    }
}

fn check_host(host: &RawText) -> Result<String> {
    let good = !host.is_empty() && host.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if good {
        return Ok(host.value.clone());
    }
    Err(Error::input(format!("`{}` is not an architecture of a build host", host.escape_debug()))
        .at(host.span.clone(), "this host")
        .help("write it as `uname -m` does: `x86_64`, `aarch64`"))
}

/// A recipe's name, or a regular expression over URLs. Only the expression has a colon.
fn history(text: &RawText) -> Result<History> {
    if !text.contains(':') {
        return names::check_name("a recipe", text, &text.span).map(|()| History::Recipe(text.value.clone()));
    }
    mirrors::compile(text).map(|_| History::Url(text.value.clone())).map_err(|error| {
        error
            .at(text.span.clone(), "here")
            .help("name a recipe, or give an expression for whole URLs: 'https://host/.*'")
    })
}

/// A regular expression of BBMASK with its reason, which becomes a comment in the configuration.
fn mask(pattern: &RawText, why: &RawText) -> Result<(String, String)> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"'$\\#".contains(c);
    if pattern.is_empty() || pattern.contains(odd) {
        return Err(Error::input(format!("`{}` cannot be a word of BBMASK", pattern.escape_debug()))
            .at(pattern.span.clone(), "this mask")
            .help("give a part of the recipe's path, such as \"/meta-x/recipes-y/\": no spaces, quotes, `$` or `\\`"));
    }
    if why.trim().is_empty() || why.chars().any(char::is_control) {
        return Err(Error::input(format!("the mask `{}` has no reason", pattern.value))
            .at(why.span.clone(), "say why, in one line")
            .help(format!("a masked recipe cannot be built: say why, for those who read {MANIFEST}")));
    }
    Ok((pattern.value.clone(), why.trim().to_owned()))
}

/// The valid parts of a `[registries]`.
pub(super) fn registries(
    raw: &IndexMap<RawText, RawText>,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, SourceUrl> {
    let mut registries = IndexMap::new();
    for (name, base) in raw {
        if let Some(url) = diagnostics.take(registry(name, base)) {
            registries.insert(name.value.clone(), url);
        }
    }
    registries
}

fn registry(name: &RawText, base: &RawText) -> Result<SourceUrl> {
    let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-:_".contains(c));
    if !good {
        return Err(Error::input(format!("`{}` is not a package registry", name.escape_debug()))
            .at(name.span.clone(), "this name")
            .help("write `go`, `npm`, or the host of `crate://HOST/…`"));
    }
    let url: SourceUrl = base.parse().map_err(|error: Error| error.at(base.span.clone(), "this URL"))?;
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err(Error::input("a package registry is reached over http or https")
            .at(base.span.clone(), "here")
            .help("write the URL below which its packages are: \"https://registry.example/crates\""));
    }
    Ok(url)
}

/// See [`Manifest::variants`].
pub(super) fn variants(manifest: &Manifest, name: &str) -> Result<Vec<Variant>> {
    let settings = &manifest.closure;
    if settings.lock == ClosureScope::None {
        return Ok(Vec::new());
    }
    let board = select::board(manifest, name)?;
    let [host, others @ ..] = settings.hosts.as_slice() else { return Ok(Vec::new()) };
    let base = manifest.select(name, &[])?;
    let variant = |name: String, selection, host: &String| Variant { name, selection, host: host.clone() };
    let mut variants = vec![variant(String::new(), base.clone(), host)];
    if !settings.lock.leaves_choices_out() {
        for setting in other_settings(manifest, name, board) {
            let set = with_consequences(manifest, name, board, std::slice::from_ref(&setting));
            // An option that contradicts itself in any case was reported when the manifest was read.
            let Ok(selection) = manifest.select(name, &set) else { continue };
            if !selection.is_built_as(&base) {
                variants.push(variant(setting, selection, host));
            }
        }
        let groups = together::groups(manifest, name, board);
        variants.extend(groups.into_iter().map(|(group, selection)| variant(group, selection, host)));
        for fragment in &settings.with {
            // A board that conflicts with it cannot have it.
            let Ok(selection) = manifest.select_with(name, &[], std::slice::from_ref(fragment)) else { continue };
            if !selection.is_built_as(&base) {
                variants.push(variant(with_setting(fragment), selection, host));
            }
        }
    }
    variants.extend(others.iter().map(|host| variant(host_setting(host), base.clone(), host)));
    Ok(variants)
}

/// See [`Manifest::settings_of`].
pub(super) fn settings_of(manifest: &Manifest, name: &str, selection: &Selection, host: &str) -> Result<Vec<String>> {
    let board = select::board(manifest, name)?;
    let values = &selection.values;
    let base = select::values(&manifest.options, name, &board.set);
    let changed = values.iter().filter(|(option, value)| base.get(*option) != Some(value));
    let mut settings: Vec<String> =
        changed.map(|(option, value)| setting(manifest, option, value.as_deref())).collect();
    let groups = together::groups(manifest, name, board);
    settings.extend(groups.into_keys().filter(|group| together::holds(manifest, values, group)));
    let with = selection.with.iter().filter(|fragment| !board.fragments.contains(fragment));
    settings.extend(with.map(|fragment| with_setting(fragment)));
    if manifest.closure.hosts.first().is_none_or(|first| first != host) {
        settings.push(host_setting(host));
    }
    Ok(settings)
}

/// See [`super::is_of_fragment`].
pub(super) fn is_of_fragment(setting: &str) -> bool {
    setting.starts_with(WITH)
}

fn with_setting(fragment: &str) -> String {
    format!("{WITH}{fragment}")
}

fn host_setting(host: &str) -> String {
    format!("host={host}")
}

/// Every value of every option of a board, except the default ones.
pub(super) fn other_settings(manifest: &Manifest, name: &str, board: &Board) -> Vec<String> {
    let base = select::values(&manifest.options, name, &board.set);
    let mut settings = Vec::new();
    for (option, value) in &base {
        match &manifest.options[option.as_str()].kind {
            super::OptionKind::Flag { .. } => {
                let other = value.is_none().then_some(select::ON);
                settings.push(setting(manifest, option, other));
            }
            super::OptionKind::Choice { choices, .. } => {
                let others = choices.keys().filter(|choice| Some(*choice) != value.as_ref());
                settings.extend(others.map(|choice| setting(manifest, option, Some(choice))));
            }
        }
    }
    settings
}

/// An option and a value, as `--set` takes it.
pub(super) fn setting(manifest: &Manifest, option: &str, value: Option<&str>) -> String {
    match (manifest.options.get(option).map(|option| &option.kind), value) {
        (Some(super::OptionKind::Flag { .. }), Some(_)) => option.to_owned(),
        (_, Some(choice)) => format!("{option}={choice}"),
        (_, None) => format!("{option}=off"),
    }
}

/// Settings together with what their flags require, and without the flags of the board that conflict with it.
pub(super) fn with_consequences(manifest: &Manifest, name: &str, board: &Board, settings: &[String]) -> Vec<String> {
    let mut set = settings.to_vec();
    let mut next = 0;
    while let Some(setting) = set.get(next) {
        let required = manifest.options.get(setting.as_str()).map(|option| option.requires.clone()).unwrap_or_default();
        let new = required.iter().map(ToString::to_string).filter(|other| !set.contains(other));
        set.extend(new.collect::<Vec<_>>());
        next += 1;
    }
    // Turning a flag off may turn off another, so this repeats at most once for each flag.
    for _ in &manifest.options {
        let mut values = select::values(&manifest.options, name, &board.set);
        values.extend(set.iter().filter_map(|text| select::one(manifest, name, text).ok()));
        let broken = select::broken(&manifest.options, &values);
        let off: Vec<String> = broken.iter().map(|broken| format!("{}=off", broken.flag)).collect();
        set.extend(off);
    }
    set
}

impl ClosureScope {
    /// Whether only the defaults of options are looked at.
    pub(super) fn leaves_choices_out(self) -> bool {
        matches!(self, ClosureScope::None | ClosureScope::Defaults)
    }
}

impl Default for ClosureSettings {
    fn default() -> Self {
        ClosureSettings {
            lock: ClosureScope::default(),
            together: Vec::new(),
            with: Vec::new(),
            hosts: vec![HOST.to_owned()],
            history: Vec::new(),
            moved_tags: Vec::new(),
            mask: IndexMap::new(),
        }
    }
}
