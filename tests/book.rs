//! The pages: the book has all of them, their links lead somewhere, and messages are as the program says them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use kbuild_test::engine::repository;
use kbuild_test::pages::{Page, pages};

/// What a link of a page names, by its path in the repository.
fn target(page: &Page, link: &str) -> String {
    let directory = Path::new(&page.path).parent().expect("a parent");
    let mut path = PathBuf::new();
    for part in directory.join(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: {link} leads out of the repository", page.path),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.display().to_string()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut dead = Vec::new();
    for page in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { page.path.clone() } else { target(page, path) };
            let has_anchor = |page: &Page| page.anchors.contains(anchor);
            let found = match pages.iter().find(|page| page.path == path) {
                Some(page) => anchor.is_empty() || has_anchor(page),
                None => anchor.is_empty() && repository().join(&path).exists(),
            };
            if !found {
                dead.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
}

#[test]
fn the_book_has_every_page_once() {
    let summary = Page::read("docs/SUMMARY.md");
    let mut listed = BTreeSet::new();
    for link in &summary.links {
        assert!(listed.insert(target(&summary, link)), "docs/SUMMARY.md has {link} twice");
    }
    let there: BTreeSet<String> =
        pages().into_iter().map(|page| page.path).filter(|path| is_of_the_book(path)).collect();
    let unlisted: Vec<_> = there.difference(&listed).collect();
    let missing: Vec<_> = listed.difference(&there).collect();
    assert!(unlisted.is_empty() && missing.is_empty(), "not in docs/SUMMARY.md: {unlisted:?}; not there: {missing:?}");
}

fn is_of_the_book(path: &str) -> bool {
    path.starts_with("docs/") && path != "docs/SUMMARY.md"
}

#[test]
fn messages_of_the_trouble_shooting_are_those_of_the_program() {
    let snapshots: Vec<String> = fs::read_dir(repository().join("tests/e2e/snapshots"))
        .expect("the snapshots")
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a snapshot"))
        .collect();
    let page = Page::read("docs/guides/trouble-shooting.md");
    let messages: Vec<_> = page.blocks.iter().filter(|block| block.language == "text").collect();
    assert!(messages.len() > 10, "the messages are not where this test looks");
    for message in messages {
        let says = |snapshot: &String| message.text.lines().all(|line| snapshot.contains(line.trim()));
        assert!(snapshots.iter().any(says), "no snapshot of tests/e2e has these lines:\n{}", message.text);
    }
}
