//! BitBake's mirrors as rules of a manifest.
//!
//! PREMIRRORS and MIRRORS are pairs of an expression and a URL. BitBake matches each part of a URL by itself (`uri_replace` in
//! `lib/bb/fetch2/__init__.py`): the scheme as a whole, host and path from their beginning, and it puts the file's name behind
//! the result. For repositories it rewrites host and path, or looks for an archive that another BitBake made.

use super::found::FoundRule;

/// Schemes of which a pair can lead to a file.
const OF_FILES: [&str; 9] =
    ["http", "https", "https?", "ftp", ".*", "http[s]?", "(https?|ftp)", "(ftp|https?)", "(ftp|http|https)"];

/// Schemes of repositories. kbuild's lock has the repository's own URL, of the scheme that BitBake's `protocol` says.
const OF_REPOSITORIES: [&str; 3] = ["git", "gitsm", "gitsm?"];

/// What a repository's scheme is in kbuild's lock, as an expression with one group.
const GIT_SCHEMES: &str = "(git|https?|ssh)";

/// The words that BitBake fills in in a pair's URL.
const WORDS: [&str; 5] = ["TYPE", "HOST", "PATH", "BASENAME", "MIRRORNAME"];

/// Pairs of expression and URL, as in PREMIRRORS and SSTATE_MIRRORS.
pub(super) fn pairs(value: &str) -> Vec<(String, String)> {
    let words = value.replace("\\n", " ");
    let words: Vec<&str> = words.split_whitespace().collect();
    words.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// The rule for all files of SOURCE_MIRROR_URL.
pub(super) fn source_mirror(url: &str) -> FoundRule {
    of_files("(https?|ftp)", ".*", url)
}

/// The rule that says the same as a pair.
///
/// # Errors
/// No rule does; the text says what does.
pub(super) fn rule(pattern: &str, url: &str) -> Result<FoundRule, &'static str> {
    let (scheme, rest) = pattern.split_once("://").unwrap_or((pattern, ".*"));
    let scheme = scheme.trim_start_matches('^').trim_end_matches('$');
    if url.contains("${") {
        return Err("it names another variable");
    }
    if OF_FILES.contains(&scheme) {
        let place = url.strip_suffix("BASENAME").unwrap_or(url);
        let fills = WORDS.iter().any(|word| place.contains(word));
        return if fills { Err(FILLED_IN) } else { Ok(of_files(scheme, rest, place)) };
    }
    if !OF_REPOSITORIES.contains(&scheme) {
        return Err(SAY_WHERE);
    }
    match url.strip_prefix("git://").or_else(|| url.strip_prefix("gitsm://")) {
        Some(place) => of_repositories(rest, place),
        None => Err("kbuild does not read archives that another BitBake made of repositories"),
    }
}

const FILLED_IN: &str = "a [[mirrors.rule]] says such a place with groups of its expression";
const SAY_WHERE: &str = "a [[mirrors.rule]] has to say where a repository is instead";

fn of_files(scheme: &str, rest: &str, url: &str) -> FoundRule {
    // BitBake's expression need not match to the end.
    let open = if rest.ends_with(".*") { "" } else { ".*" };
    let pattern = format!("{scheme}://{}{open}", rest.trim_end_matches('$'));
    FoundRule { pattern, to: vec![format!("{}/{{name}}", url.trim_end_matches('/'))] }
}

fn of_repositories(rest: &str, place: &str) -> Result<FoundRule, &'static str> {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (place, parameters) = place.split_once(';').unwrap_or((place, ""));
    let protocol = parameters.split(';').find_map(|parameter| parameter.strip_prefix("protocol="));
    let scheme = protocol.unwrap_or("$1");
    let host = match host {
        ".*" => "[^/]*",
        host => host,
    };
    // Where the whole path is replaced, only a word of BitBake's can say which repository is meant.
    let whole = path == ".*";
    let plain = |text: &str| !text.contains(['(', ')', '*', '+', '?', '[', '|', '$', '^', '\\']);
    let words = |text: &str| WORDS.iter().any(|word| text.contains(word));
    let (path, to) = match (place.strip_suffix("PATH"), place.strip_suffix("BASENAME")) {
        (Some(base), _) if whole && !words(base) => ("(.*)".to_owned(), format!("{base}$2")),
        (_, Some(base)) if whole && !words(base) => ("(?:.*/)?([^/]+)".to_owned(), format!("{base}$2")),
        (None, None) if plain(path) && !words(place) => (format!("{path}(.*)"), join(place, path)),
        _ => return Err(SAY_WHERE),
    };
    Ok(FoundRule { pattern: format!("{GIT_SCHEMES}://{host}/{path}"), to: vec![format!("{scheme}://{to}")] })
}

/// The place with the rest of the path behind it. BitBake replaces the text of the expression's path: what was in front of a
/// slash stays so.
fn join(place: &str, path: &str) -> String {
    let slash = if place.ends_with('/') || !(path.is_empty() || path.ends_with('/')) { "" } else { "/" };
    format!("{place}{slash}$2")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::whole_url;

    /// What a pair's rule makes of a URL.
    fn made(pair: (&str, &str), url: &str) -> Result<Option<String>, &'static str> {
        let rule = rule(pair.0, pair.1)?;
        let expression = whole_url(&rule.pattern).unwrap();
        let made = expression.captures(url).map(|found| {
            let mut text = String::new();
            found.expand(&rule.to[0], &mut text);
            text
        });
        Ok(made)
    }

    #[test]
    fn files_have_their_name_behind_the_place() {
        for (pattern, url) in [
            ("https://.*/.*/", "https://m/x/"),
            ("https?://.*/.*", "https://m/x"),
            ("https", "https://m/x/"),
            ("https?$://gnu.org/", "https://m/x/BASENAME"),
        ] {
            let made = made((pattern, url), "https://gnu.org/a/b.tar.gz").unwrap();
            assert_eq!(made.as_deref(), Some("https://m/x/{name}"), "{pattern}");
        }
        assert_eq!(made(("http://.*/.*", "https://m/x"), "https://gnu.org/b"), Ok(None));
        assert!(made(("https?://.*/.*", "https://m/HOST/PATH"), "").is_err());
        assert!(made(("https?://.*/.*", "https://${M}/"), "").is_err());
    }

    #[test]
    fn repositories_go_where_bitbake_would_look() {
        for (pattern, place, url, expected) in [
            ("git://github.com", "git://m/gh/", "https://github.com/o/n.git", "https://m/gh/o/n.git"),
            ("git://github.com", "git://m/gh", "https://github.com/o/n.git", "https://m/gh/o/n.git"),
            ("git://.*/", "git://m/all/", "ssh://git@h/o/n", "ssh://m/all/o/n"),
            ("git://github.com/o/", "git://m/p/;protocol=https", "git://github.com/o/n", "https://m/p/n"),
            ("git://github.com/o", "git://m/p", "https://github.com/o/n", "https://m/p/n"),
            ("git://.*/.*", "git://m/PATH;protocol=https", "git://h/o/n", "https://m/o/n"),
            ("gitsm://.*/.*", "git://m/BASENAME;protocol=http", "https://h/o/n", "http://m/n"),
            ("git://.*/.*", "git:///srv/BASENAME;protocol=file", "https://h/o/n", "file:///srv/n"),
        ] {
            assert_eq!(made((pattern, place), url).unwrap().as_deref(), Some(expected), "{pattern} {place}");
        }
        assert!(made(("git://.*/.*", "git://m/x/"), "").is_err(), "every repository would be the same");
        assert!(made(("git://.*/.*", "https://m/x/"), "").is_err());
        assert!(made(("svn://.*/.*", "svn://m/x/"), "").is_err());
    }
}
