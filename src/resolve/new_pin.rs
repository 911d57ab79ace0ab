//! What a person means by `kbuild update NAME --to REF`: asks the upstream which ref it has.

use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::manifest::NewPin;
use crate::source::{CommitId, GitRef, SourceUrl};

/// The pin that a text names in a repository: a whole commit id, else a tag, else a branch, as git itself reads a name
/// (gitrevisions(7)).
///
/// # Errors
/// The repository has no such ref (kind `Input`, with near ones), or cannot be asked.
pub async fn new_pin(url: &SourceUrl, text: &str, fetcher: &Fetcher) -> Result<NewPin> {
    if let Ok(commit) = text.parse::<CommitId>() {
        return Ok(NewPin::Rev(commit));
    }
    let tag = text.strip_prefix("refs/tags/");
    let branch = text.strip_prefix("refs/heads/");
    match (tag, branch) {
        (Some(tag), _) => tag_of(url, tag, fetcher).await,
        (_, Some(branch)) => branch_of(url, branch, fetcher).await,
        _ => match tag_of(url, text, fetcher).await {
            Err(no_tag) if no_tag.kind() == Kind::Input => {
                let pin = branch_of(url, text, fetcher).await;
                pin.map_err(|no_branch| neither(url, text, no_tag, no_branch))
            }
            found => found,
        },
    }
}

async fn tag_of(url: &SourceUrl, tag: &str, fetcher: &Fetcher) -> Result<NewPin> {
    let reference = GitRef { branch: None, tag: Some(tag.to_owned()), rev: None };
    Ok(NewPin::Tag(tag.to_owned(), fetcher.resolve(url, &reference).await?.commit))
}

async fn branch_of(url: &SourceUrl, branch: &str, fetcher: &Fetcher) -> Result<NewPin> {
    let reference = GitRef { branch: Some(branch.to_owned()), tag: None, rev: None };
    Ok(NewPin::Branch(branch.to_owned(), fetcher.resolve(url, &reference).await?.commit))
}

fn neither(url: &SourceUrl, text: &str, no_tag: Error, no_branch: Error) -> Error {
    if no_branch.kind() != Kind::Input {
        return no_branch;
    }
    let error = Error::input(format!("`{}` is neither a tag nor a branch of {url}", text.escape_debug()));
    let short = text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hint = no_tag.hint().or(no_branch.hint()).map(str::to_owned);
    match hint {
        _ if short => error.help("give all 40 digits of a commit"),
        Some(hint) => error.help(hint),
        None => error.help(format!("`git ls-remote {url}` lists what there is")),
    }
}
