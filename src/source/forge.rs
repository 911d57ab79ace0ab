//! The pages of forges that show what is between two commits. Pure text: nothing is asked.

use super::{CommitId, SourceUrl};

/// Hosts with GitHub's path of a comparison; Forgejo has the same.
const COMPARE: [&str; 2] = ["github.com", "codeberg.org"];

/// Hosts of cgit whose repositories are at the top.
const CGIT: [&str; 2] = ["git.openembedded.org", "git.yoctoproject.org"];

impl SourceUrl {
    /// The page of a repository's forge that lists the commits between two, if the forge is a known one.
    pub fn comparison(&self, from: &CommitId, to: &CommitId) -> Option<String> {
        let host = self.as_url().host_str()?;
        let path = self.as_url().path().trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        if COMPARE.contains(&host) {
            return Some(format!("https://{host}/{path}/compare/{from}...{to}"));
        }
        if host == "gitlab.com" || host.starts_with("gitlab.") {
            return Some(format!("https://{host}/{path}/-/compare/{from}...{to}"));
        }
        CGIT.contains(&host).then(|| format!("https://{host}/{path}/log/?qt=range&q={from}..{to}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_forges_show_what_is_between_two_commits() {
        let (from, to): (CommitId, CommitId) = ("a".repeat(40).parse().unwrap(), "b".repeat(40).parse().unwrap());
        let page = |url: &str| {
            url.parse::<SourceUrl>()
                .unwrap()
                .comparison(&from, &to)
                .map(|page| page.replace(&from.to_string(), "A").replace(&to.to_string(), "B"))
        };
        assert_eq!(page("https://github.com/o/r.git").as_deref(), Some("https://github.com/o/r/compare/A...B"));
        assert_eq!(page("ssh://git@gitlab.com/g/s/r").as_deref(), Some("https://gitlab.com/g/s/r/-/compare/A...B"));
        let cgit = "https://git.openembedded.org/bitbake/log/?qt=range&q=A..B";
        assert_eq!(page("https://git.openembedded.org/bitbake").as_deref(), Some(cgit));
        assert_eq!(page("https://git.example/r"), None);
    }
}
