//! Commits out of a vault, with repositories and archives that are made here.

use std::io::Write as _;

use super::gits::{Upstream, tree_of, wanted};
use super::*;
use crate::fetch::mirrors::Fallbacks;
use crate::fetch::vault::VaultPolicy;
use kbuild_test::http::Reply;

/// A vault at a server here, an upstream that is gone, and who asks both.
struct VaultWorld {
    world: World,
    server: Server,
    upstream: Upstream,
}

impl VaultWorld {
    fn new() -> VaultWorld {
        VaultWorld::with(Mirrors { public: vec!["127.0.0.1".to_owned()], ..no_fallbacks() })
    }

    fn with(mirrors: Mirrors) -> VaultWorld {
        let (server, upstream) = (Server::start(), Upstream::new());
        let mut world = World::with(mirrors, false);
        let to = server.url("/api/1/vault/git-bare/swh:1:rev:{commit}/");
        let vaults = Rules::new(&[rule("(?:https?|git)://.*", &[&to])]).unwrap();
        world.fetcher.fallbacks = Fallbacks { files: Rules::default(), vaults };
        let quick = Duration::from_millis(1);
        world.fetcher.vault =
            VaultPolicy { first: quick, longest: quick, total: Duration::from_secs(60), ..VaultPolicy::default() };
        VaultWorld { world, server, upstream }
    }

    fn path(&self) -> String {
        format!("/api/1/vault/git-bare/swh:1:rev:{}/", self.upstream.two)
    }

    /// The commit `two`, of an upstream that does not have it any more.
    fn gone(&self) -> WantedGit {
        wanted(&self.server.url("/gone.git"), self.upstream.two)
    }

    /// What the vault says, one answer for each request, and its archive.
    fn says(&self, answers: &[&str], archive: Vec<u8>) {
        let answer =
            |status: &&str| Reply::file(format!("{{\"status\": \"{status}\", \"progress_message\": \"word\"}}"));
        self.server.on(&self.path(), answers.iter().map(answer));
        self.server.on(&format!("{}raw/", self.path()), [Reply::file(archive)]);
    }

    /// The upstream's repository as the vault archives it.
    fn archive(&self) -> Vec<u8> {
        archive_of(&self.upstream.path().join("x.git"), &format!("swh:1:rev:{}.git", self.upstream.two))
    }
}

fn archive_of(folder: &Path, name: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(name, folder).unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn what_no_upstream_has_comes_out_of_the_vault() {
    let vault = VaultWorld::new();
    vault.says(&["new", "pending", "pending", "done"], vault.archive());
    let want = WantedGit { tree: Some(tree_of(&vault.upstream, &vault.upstream.two)), ..vault.gone() };
    let record = vault.world.fetcher.git(&want).await.unwrap();
    assert_eq!((record.commit, record.shallow.as_slice()), (vault.upstream.two, &[vault.upstream.two][..]));
    let asked: Vec<String> = vault.server.requests(&vault.path()).into_iter().map(|request| request.method).collect();
    assert_eq!(asked, ["POST", "GET", "GET", "GET"], "requested once, then looked at");
    assert_eq!(vault.world.partials(), 0, "the archive is not kept");
    assert!(vault.world.said().contains("makes it: word"), "{}", vault.world.said());
}

#[tokio::test]
async fn loose_objects_compressed_archives_and_whole_histories_are_taken_too() {
    let vault = VaultWorld::new();
    let loose = vault.upstream.path().join("work/.git");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&archive_of(&loose, "swh:1:rev:x.git")).unwrap();
    vault.says(&["done"], packed.finish().unwrap());
    let record = vault.world.fetcher.git(&WantedGit { history: true, ..vault.gone() }).await.unwrap();
    assert!(record.shallow.is_empty());
}

#[tokio::test]
async fn a_vault_is_not_taken_on_its_word() {
    let vault = VaultWorld::new();
    let other = Upstream::new();
    let elsewhere = other.path().join("else");
    git2::Repository::init_bare(&elsewhere).unwrap();
    for archive in [b"no archive".to_vec(), archive_of(&elsewhere, "swh:1:rev:x.git"), vault.archive()[..2000].to_vec()]
    {
        vault.says(&["done"], archive);
        let error = vault.world.fetcher.git(&vault.gone()).await.unwrap_err();
        assert_eq!(vault.world.blobs(), 0, "{}", whole_error(&error));
        assert_eq!(vault.world.partials(), 0);
    }
    // The right commit, where the lock has another tree.
    vault.says(&["done"], vault.archive());
    let error =
        vault.world.fetcher.git(&WantedGit { tree: Some(Blake3::from([9; 32])), ..vault.gone() }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch, "{}", whole_error(&error));
}

#[tokio::test]
async fn nothing_of_an_archive_but_objects_is_unpacked() {
    let vault = VaultWorld::new();
    let mut archive = tar::Builder::new(Vec::new());
    let folder = vault.upstream.path().join("x.git");
    fs::write(folder.join("config"), "[core]\n\tfsmonitor = /bin/false\n").unwrap();
    archive.append_dir_all("swh:1:rev:x.git", &folder).unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, format!("x.git/objects/ab/{}", "c".repeat(38)), "/etc/passwd").unwrap();
    vault.says(&["done"], archive.into_inner().unwrap());
    vault.world.fetcher.git(&vault.gone()).await.unwrap();
}

#[tokio::test]
async fn a_vault_that_cannot_or_does_not_answer_is_not_waited_for_without_end() {
    for (answers, expected) in [
        (&["failed"][..], "it could not be made there: word"),
        (&["new", "pending"][..], "it was not made within 0 s"),
        (&["strange"][..], "an unknown status: strange"),
    ] {
        let mut vault = VaultWorld::new();
        vault.says(answers, Vec::new());
        if answers.len() > 1 {
            vault.world.fetcher.vault.total = Duration::from_millis(20);
        }
        let error = vault.world.fetcher.git(&vault.gone()).await.unwrap_err();
        assert!(whole_error(&error).contains(expected), "{}", whole_error(&error));
        assert!(vault.server.requests(&format!("{}raw/", vault.path())).is_empty());
    }
    // It does not have the commit either: nobody does.
    let vault = VaultWorld::new();
    let error = vault.world.fetcher.git(&vault.gone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{}", whole_error(&error));
}

#[tokio::test]
async fn a_vaults_word_without_an_end_is_refused() {
    let vault = VaultWorld::new();
    let word =
        |length: u64| Reply::file(format!("{{\"status\": \"failed\", \"x\": \"{}\"}}", "x".repeat(length as usize)));
    for (length, expected) in [
        (bounds::VAULT_ANSWER - 100, "it could not be made there"),
        (bounds::VAULT_ANSWER, "the answer is longer than 65536 bytes"),
    ] {
        vault.server.on(&vault.path(), [word(length)]);
        let error = vault.world.fetcher.git(&vault.gone()).await.unwrap_err();
        assert!(whole_error(&error).contains(expected), "{}", whole_error(&error));
    }
}

#[tokio::test]
async fn a_vault_is_asked_last_seldom_and_only_of_what_is_public() {
    // An upstream that is only busy has it still.
    let vault = VaultWorld::new();
    vault.server.on("/gone.git/info/refs", [Reply::status(503)]);
    vault.says(&["done"], vault.archive());
    let error = vault.world.fetcher.git(&vault.gone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Network, "{}", whole_error(&error));
    assert!(vault.server.requests(&vault.path()).is_empty());

    let mut vault = VaultWorld::new();
    vault.world.fetcher.vault.most = 0;
    vault.says(&["done"], vault.archive());
    let error = vault.world.fetcher.git(&vault.gone()).await.unwrap_err();
    assert!(whole_error(&error).contains("which is enough"), "{}", whole_error(&error));

    let vault = VaultWorld::with(no_fallbacks());
    vault.says(&["done"], vault.archive());
    vault.world.fetcher.git(&vault.gone()).await.unwrap_err();
    assert!(vault.server.requests(&vault.path()).is_empty(), "an address of this machine is internal");
}
