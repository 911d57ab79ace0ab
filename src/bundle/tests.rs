//! Export and import: whole, in parts, signed, interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::index::IndexedBlob;
use super::*;
use crate::lock::{Content, Lock, LockedFile, LockedRecipe};
use crate::progress::{Progress, Silent, Task};
use crate::source::{CommitId, Digests};
use crate::store::fixture::{Upstream, file, tree as a_tree};
use crate::store::tree;
use crate::store::{Contents, Store};

/// A store with two files and two commits, and the lock that names them.
pub(super) struct Sample {
    pub directory: tempfile::TempDir,
    pub store: Store,
    pub lock: Lock,
    pub upstream: Upstream,
}

impl Sample {
    pub fn new() -> Sample {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let mut sample = Sample { directory, store, lock: Lock::default(), upstream: Upstream::new() };
        sample.add_file("small.tar.gz", b"content");
        let large: Vec<u8> = (0..2_500_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
        sample.add_file("large.tar.gz", &large);
        let sources = sample.lock.all_sources().into_iter().take(1).collect();
        let recipe = LockedRecipe {
            version: "1".to_owned(),
            layer: "core".to_owned(),
            file: "large.bb".to_owned(),
            license: "MIT & GPL-2.0-only".to_owned(),
            sources,
        };
        sample.lock.recipes.insert("large".to_owned(), recipe);
        sample.add_commit("first");
        sample.add_commit("second");
        sample
    }

    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Digests {
        let path = self.directory.path().join("upstream");
        fs::write(&path, bytes).unwrap();
        let digests = self.store.add_file(&path).unwrap();
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        let locked = LockedFile { name: None, urls: vec![], sha256: digests.sha256, stated_size: None, content };
        self.lock.files.insert(name.to_owned(), locked);
        digests
    }

    pub fn add_commit(&mut self, text: &str) -> CommitId {
        let commit = self.upstream.commit(&[], &a_tree([("file", file(text))]));
        let hash = tree::of_commit(&self.upstream.objects(), &commit).unwrap();
        self.store.add_git(self.upstream.path(), &commit, hash).unwrap();
        let locked = self.upstream.locked(&commit, Some(hash));
        self.lock.gits.insert(crate::source::name::git_key(&locked.url, &commit), locked);
        commit
    }

    fn plan(&self, theirs: &Ledger, program: Option<&Path>) -> ExportPlan {
        let sources = self.lock.all_sources();
        let request = ExportRequest {
            project: "sample",
            boards: &[],
            lock: &self.lock,
            sources: &sources,
            lock_text: self.lock.to_string().into_bytes(),
            manifest: b"[project]\n".to_vec(),
            program,
        };
        plan(&self.store, request, theirs).unwrap()
    }

    pub fn export(&self, target: Target, theirs: &Ledger, signer: Option<&Signer>) -> Exported {
        export(&self.store, self.plan(theirs, None), target, signer, &Silent).unwrap()
    }

    /// A bundle as one file.
    pub fn archive(&self) -> Vec<u8> {
        self.archive_since(&Ledger::default(), None)
    }

    pub fn archive_since(&self, theirs: &Ledger, signer: Option<&Signer>) -> Vec<u8> {
        let written = Shared::default();
        self.export(Target::Stream(Box::new(written.clone())), theirs, signer);
        let bytes = written.0.lock().unwrap();
        bytes.clone()
    }

    /// Whether another store has the whole lock, each byte as locked.
    pub fn is_whole_in(&self, store: &Store) -> bool {
        self.lock.all_sources().iter().all(|id| store.verify(self.lock.get(id).unwrap()).is_ok())
    }
}

/// What was written to a pipe.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An empty store in a directory of its own.
pub(super) fn empty() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

pub(super) fn import_bytes(store: &Store, bytes: &[u8], keys: &[TrustedKey]) -> Result<Imported> {
    import(store, Origin::Stream(Box::new(std::io::Cursor::new(bytes.to_vec()))), keys, &Silent)
}

/// Every file below a directory with its bytes and mode.
fn files_of(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(directory).into_iter().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().is_file());
    let read = |path: &Path| (fs::metadata(path).unwrap().permissions().mode() & 0o777, fs::read(path).unwrap());
    files.map(|entry| (entry.path().strip_prefix(directory).unwrap().to_owned(), read(entry.path()))).collect()
}

#[test]
fn a_bundle_takes_a_store_elsewhere() {
    let sample = Sample::new();
    let (_directory, store) = empty();
    let imported = import_bytes(&store, &sample.archive(), &[]).unwrap();
    assert_eq!((imported.blobs, imported.commits, imported.trust), (6, 2, Trust::Unsigned));
    assert_eq!(imported.lock, sample.lock.to_string().into_bytes());
    assert!(sample.is_whole_in(&store));
    assert_eq!(fs::read_dir(store.root().join("incoming")).unwrap().count(), 0);
    let again = import_bytes(&store, &sample.archive(), &[]).unwrap();
    assert_eq!((again.blobs, again.bytes, again.commits), (0, 0, 0));
}

#[test]
fn the_same_lock_and_store_give_the_same_bytes() {
    let sample = Sample::new();
    let archive = sample.archive();
    assert_eq!(sample.archive(), archive);
    let places = ["one", "two"].map(|name| sample.directory.path().join(name));
    places.iter().for_each(|place| drop(sample.export(Target::Directory(place.clone()), &Ledger::default(), None)));
    let files = files_of(&places[0]);
    assert_eq!(files, files_of(&places[1]));

    // kbuild's archive and the other tool's archive contain the same files.
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = (entry.header().mtime().unwrap(), entry.header().uid().unwrap());
        assert_eq!(header, (0, 0));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        entries.insert(entry.path().unwrap().into_owned(), (entry.header().mode().unwrap(), bytes));
    }
    let contents = |files: BTreeMap<PathBuf, (u32, Vec<u8>)>| -> BTreeMap<PathBuf, Vec<u8>> {
        files.into_iter().map(|(path, (_, bytes))| (path, bytes)).collect()
    };
    assert_eq!(contents(entries), contents(files));
}

#[test]
fn the_index_can_be_read() {
    let sample = Sample::new();
    let place = sample.directory.path().join("bundle");
    sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
    let text = fs::read_to_string(place.join(INDEX)).unwrap();
    // git makes the packs, and its versions compress differently.
    let text = regex::Regex::new(r#"("sources":\["git:|"bytes":|"record":)[^\n]*"#).unwrap().replace_all(&text, "$1…");
    let text = regex::Regex::new(r#"\{"type":"blob","blake3":"[0-9a-f]{64}","size":\d+,"sources":\["git:…\n"#)
        .unwrap()
        .replace_all(&text, "");
    insta::assert_snapshot!(text);
}

#[test]
fn what_the_other_side_has_is_left_out() {
    let mut sample = Sample::new();
    let (_directory, theirs) = empty();
    let place = sample.directory.path().join("first");
    sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
    import(&theirs, Origin::Path(place.clone()), &[], &Silent).unwrap();
    let ledger = sample.directory.path().join("ledger");
    fs::write(&ledger, Ledger::of_store(&theirs).unwrap().to_string()).unwrap();
    let lock = sample.directory.path().join("kata.lock");
    sample.lock.write(&lock).unwrap();
    let archive = sample.directory.path().join("first.tar");
    sample.export(Target::File(archive.clone()), &Ledger::default(), None);

    let new = sample.add_file("new.tar.gz", b"new");
    sample.add_commit("third");
    for since in [place, ledger, lock, archive] {
        let known = Ledger::read(&since).unwrap();
        let second = sample.directory.path().join("second.tar");
        let exported = sample.export(Target::File(second.clone()), &known, None);
        let carried: Vec<_> = exported.index.carried().collect();
        assert_eq!(carried.len(), 3, "the file, a pack and its index: {}", since.display());
        assert!(carried.iter().any(|blob| blob.blake3 == new.blake3));

        let (_directory, store) = empty();
        let error = import(&store, Origin::Path(second.clone()), &[], &Silent).unwrap_err();
        assert_eq!(error.kind(), Kind::Missing);
        assert!(error.causes()[0].contains("file:small.tar.gz"), "{:?}", error.causes());
        assert_eq!(store.inventory().unwrap(), crate::store::Inventory::default(), "nothing was written");
        import_bytes(&store, &sample.archive(), &[]).unwrap();
        assert_eq!(import(&store, Origin::Path(second), &[], &Silent).unwrap().blobs, 0);
    }
    let second = sample.archive_since(&Ledger::of_store(&theirs).unwrap(), None);
    import_bytes(&theirs, &second, &[]).unwrap();
    assert!(sample.is_whole_in(&theirs));
}

#[test]
fn an_interrupted_export_continues() {
    let sample = Sample::new();
    let place = sample.directory.path().join("bundle");
    sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
    let whole = files_of(&place);

    // As a full disk leaves it.
    fs::rename(place.join(INDEX), place.join(INCOMPLETE)).unwrap();
    let blob = sample.store.inventory().unwrap().blobs[0].0;
    let gone = IndexedBlob::place(&blob);
    fs::remove_file(place.join(&gone)).unwrap();
    fs::write(place.join("blobs").join(".kbuild-left"), "half").unwrap();
    let (_directory, store) = empty();
    let error = import(&store, Origin::Path(place.clone()), &[], &Silent).unwrap_err();
    assert!(error.causes()[0].contains("interrupted"), "{error}");

    let exported = sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
    assert_eq!(exported.kept, 5);
    assert_eq!(files_of(&place), whole);
}

/// A user who stops the work after this many steps.
struct Stopping(AtomicUsize);

impl Progress for Stopping {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        Silent.begin(what, total)
    }

    fn warn(&self, _message: &str) {}

    fn check_interrupted(&self) -> Result<()> {
        let stop = |left: usize| left.checked_sub(1);
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, stop);
        left.map(drop).map_err(|_| Error::new(Kind::Interrupted, "interrupted"))
    }
}

#[test]
fn a_stopped_export_leaves_no_temporary_file_and_continues() {
    let sample = Sample::new();
    let none = Ledger::default();
    for pieces in 0..6 {
        let directory = sample.directory.path().join(format!("bundle-{pieces}"));
        let file = sample.directory.path().join(format!("bundle-{pieces}.tar"));
        let stop = |target| export(&sample.store, sample.plan(&none, None), target, None, &Stopping(pieces.into()));
        assert_eq!(stop(Target::Directory(directory.clone())).unwrap_err().kind(), Kind::Interrupted);
        assert_eq!(stop(Target::File(file.clone())).unwrap_err().kind(), Kind::Interrupted);
        assert!(directory.join(INCOMPLETE).is_file() && !directory.join(INDEX).exists());
        assert!(files_of(&directory).keys().all(|path| !path.to_str().unwrap().contains(".kbuild-")));
        let beside = fs::read_dir(sample.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(beside.into_iter().all(|name| !name.to_str().unwrap().contains(".tar")), "nothing of the file is left");
        export(&sample.store, sample.plan(&none, None), Target::Directory(directory.clone()), None, &Silent).unwrap();
        let there = Store::open(&sample.directory.path().join(format!("there-{pieces}"))).unwrap();
        import(&there, Origin::Path(directory), &[], &Silent).unwrap();
    }
}

#[test]
fn a_stopped_import_leaves_complete_blobs_and_continues() {
    let sample = Sample::new();
    let none = Ledger::default();
    let (directory, file) = (sample.directory.path().join("bundle"), sample.directory.path().join("bundle.tar"));
    for target in [Target::Directory(directory.clone()), Target::File(file.clone())] {
        export(&sample.store, sample.plan(&none, None), target, None, &Silent).unwrap();
    }
    for (number, bundle) in [&directory, &file].into_iter().enumerate() {
        let there = Store::open(&sample.directory.path().join(format!("there-{number}"))).unwrap();
        for pieces in [0, 2, 5] {
            let stopped = import(&there, Origin::Path(bundle.clone()), &[], &Stopping(pieces.into()));
            assert_eq!(stopped.unwrap_err().kind(), Kind::Interrupted);
            for left in ["incoming", "tmp"] {
                assert_eq!(fs::read_dir(there.root().join(left)).unwrap().count(), 0, "{left}");
            }
        }
        import(&there, Origin::Path(bundle.clone()), &[], &Silent).unwrap();
        assert!(sample.lock.all_sources().iter().all(|id| there.has(sample.lock.get(id).unwrap())));
    }
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let sample = Sample::new();
    let place = sample.directory.path().join("home");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("letter"), "dear").unwrap();
    let target = Target::Directory(place.clone());
    let plan = sample.plan(&Ledger::default(), None);
    let error = export(&sample.store, plan, target, None, &Silent).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
}

#[test]
fn a_bundle_of_another_lock_takes_the_place_of_the_first() {
    let mut sample = Sample::new();
    let place = sample.directory.path().join("bundle");
    sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
    fs::write(place.join("README"), "mine").unwrap();
    sample.lock.files.remove("large.tar.gz");
    sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
    let fresh = sample.directory.path().join("fresh");
    sample.export(Target::Directory(fresh.clone()), &Ledger::default(), None);
    let mut files = files_of(&place);
    assert!(files.remove(Path::new("README")).is_some(), "what is not kbuild's stays");
    assert_eq!(files, files_of(&fresh));
}

#[test]
fn nothing_is_written_or_removed_through_a_strangers_links() {
    let mut sample = Sample::new();
    let place = sample.directory.path().join("bundle");
    let precious = sample.directory.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("letter"), "dear").unwrap();
    sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
    fs::remove_dir_all(place.join("blobs")).unwrap();
    std::os::unix::fs::symlink(&precious, place.join("blobs")).unwrap();
    let plan = sample.plan(&Ledger::default(), None);
    let error = export(&sample.store, plan, Target::Directory(place.clone()), None, &Silent).unwrap_err();
    assert_eq!(error.kind(), Kind::Input, "{error}");
    // With no blob to write, only the clean-up finds the link.
    sample.lock = Lock::default();
    let plan = sample.plan(&Ledger::default(), None);
    export(&sample.store, plan, Target::Directory(place), None, &Silent).unwrap();
    assert_eq!(files_of(&precious).len(), 1);
}

#[test]
fn a_damaged_store_gives_no_bundle() {
    let sample = Sample::new();
    let blob = sample.store.blob_path(&sample.lock.files["small.tar.gz"].content.unwrap().blake3);
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&blob, "CONTENT").unwrap();
    let target = sample.directory.path().join("bundle.tar");
    let plan = sample.plan(&Ledger::default(), None);
    let error = export(&sample.store, plan, Target::File(target.clone()), None, &Silent).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert!(error.hint().unwrap().contains("kbuild verify --repair"));
    assert!(!target.exists() && !sample.directory.path().join("bundle.tar.part").exists());
}

#[test]
fn what_is_not_in_the_store_is_named() {
    let mut sample = Sample::new();
    let mut file = sample.lock.files["small.tar.gz"].clone();
    file.sha256 = [9; 32].into();
    file.content = None;
    sample.lock.files.insert("absent.tar.gz".to_owned(), file);
    let error = Contents::of(&sample.store, &sample.lock, &sample.lock.all_sources()).unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert_eq!(error.causes(), ["file:absent.tar.gz"]);
}

#[test]
fn an_interrupted_import_leaves_complete_blobs_and_continues() {
    let sample = Sample::new();
    let bytes = sample.archive();
    let (_directory, store) = empty();
    let half = bytes[..bytes.len() - 600_000].to_vec();
    let error = import_bytes(&store, &half, &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    let inventory = store.inventory().unwrap();
    assert!(inventory.commits.is_empty() && inventory.partial.is_empty(), "{inventory:?}");
    assert!(!sample.is_whole_in(&store));
    let came = inventory.blobs.len();
    let imported = import_bytes(&store, &bytes, &[]).unwrap();
    assert_eq!(imported.blobs + came, 6);
    assert!(sample.is_whole_in(&store));
}

#[test]
fn the_program_comes_along_and_is_no_content() {
    let sample = Sample::new();
    let program = sample.directory.path().join("kbuild");
    fs::write(&program, "a program").unwrap();
    let place = sample.directory.path().join("bundle");
    let plan = sample.plan(&Ledger::default(), Some(&program));
    export(&sample.store, plan, Target::Directory(place.clone()), None, &Silent).unwrap();
    assert_eq!(fs::metadata(place.join("kbuild")).unwrap().permissions().mode() & 0o777, 0o755);
    let (_directory, store) = empty();
    let import_it = || import(&store, Origin::Path(place.clone()), &[], &Silent);
    assert_eq!(import_it().unwrap().index.program.unwrap().sum.size, 9);
    fs::write(place.join("kbuild"), "b program").unwrap();
    assert_eq!(import_it().unwrap_err().kind(), Kind::Mismatch);
}

/// A pair of keys: what signs, and what is trusted.
fn keys(directory: &Path) -> (Signer, impl Fn() -> TrustedKey + use<>) {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let secret = directory.join("key");
    fs::write(&secret, pair.sk.to_box(None).unwrap().to_string()).unwrap();
    let public = directory.join("key.pub");
    fs::write(&public, pair.pk.to_box().unwrap().to_string()).unwrap();
    let signer = Signer::read(&secret, || panic!("it has no password")).unwrap();
    let line = pair.pk.to_base64();
    assert!(TrustedKey::read(public.to_str().unwrap()).is_ok());
    (signer, move || TrustedKey::read(&line).unwrap())
}

#[test]
fn only_what_a_trusted_key_signed_is_taken() {
    let sample = Sample::new();
    let (signer, trusted) = keys(sample.directory.path());
    let (other_signer, other) = keys(sample.directory.path());
    let signed = sample.archive_since(&Ledger::default(), Some(&signer));
    let (_directory, store) = empty();
    let refused = |bytes: &[u8], keys: &[TrustedKey]| {
        let error = import_bytes(&store, bytes, keys).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        assert_eq!(store.inventory().unwrap(), crate::store::Inventory::default(), "nothing was written");
        error.to_string()
    };
    assert!(refused(&sample.archive(), &[trusted()]).contains("not signed"));
    assert!(refused(&signed, &[other()]).contains("not trusted"));

    // A signature of the right key over another index, and one whose comment was changed.
    let place = sample.directory.path().join("bundle");
    sample.export(Target::Directory(place.clone()), &Ledger::default(), Some(&signer));
    let signature = fs::read_to_string(place.join(SIGNATURE)).unwrap();
    let import_it = |keys: &[TrustedKey]| import(&store, Origin::Path(place.clone()), keys, &Silent);
    fs::write(place.join(SIGNATURE), signature.replace("kbuild bundle, index", "kbuild bundle: index")).unwrap();
    assert_eq!(import_it(&[trusted()]).unwrap_err().to_string(), "the bundle's signature is wrong");
    fs::write(place.join(SIGNATURE), "no signature").unwrap();
    assert_eq!(import_it(&[trusted()]).unwrap_err().to_string(), "the bundle's signature is not in minisign's format");
    fs::write(place.join(SIGNATURE), &signature).unwrap();
    let index = fs::read_to_string(place.join(INDEX)).unwrap();
    fs::write(place.join(INDEX), index.replace("\"sample\"", "\"simple\"")).unwrap();
    assert_eq!(import_it(&[trusted()]).unwrap_err().to_string(), "the bundle's signature is wrong");
    assert_eq!(store.inventory().unwrap(), crate::store::Inventory::default(), "nothing was written");

    assert_eq!(import_bytes(&store, &signed, &[other(), trusted()]).unwrap().trust, Trust::Signed);
    let by_other = sample.archive_since(&Ledger::default(), Some(&other_signer));
    assert_eq!(import_bytes(&store, &by_other, &[]).unwrap().trust, Trust::Unchecked);
}

#[test]
fn a_key_as_minisign_writes_it_without_a_password_signs() {
    use ct_codecs::{Base64, Encoder as _};

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let mut bytes = pair.sk.to_bytes();
    let length = bytes.len();
    bytes[length - 32..].fill(0);
    fs::write(&path, format!("untrusted comment: key\n{}\n", Base64::encode_to_string(&bytes).unwrap())).unwrap();
    let signature = Signer::read(&path, || panic!("it has no password")).unwrap().sign(b"index").unwrap();
    let trusted = TrustedKey::read(&pair.pk.to_base64()).unwrap();
    assert_eq!(sign::check(&[trusted], b"index", Some(signature.as_bytes())).unwrap(), Trust::Signed);
    // A key that was damaged on the way is not taken for such a key.
    bytes[length - 1] = 1;
    fs::write(&path, format!("untrusted comment: key\n{}\n", Base64::encode_to_string(&bytes).unwrap())).unwrap();
    assert!(Signer::read(&path, || panic!("it has no password")).is_err());
}

#[test]
fn a_key_with_a_password_signs_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let pair = minisign::KeyPair::generate_encrypted_keypair(Some("open sesame".to_owned())).unwrap();
    fs::write(&path, pair.sk.to_box(None).unwrap().to_string()).unwrap();
    assert_eq!(Signer::read(&path, || Ok("wrong".to_owned())).err().unwrap().kind(), Kind::Input);
    let signer = Signer::read(&path, || Ok("open sesame".to_owned())).unwrap();
    let signature = signer.sign(b"index").unwrap();
    let trusted = TrustedKey::read(&pair.pk.to_base64()).unwrap();
    assert_eq!(sign::check(&[trusted], b"index", Some(signature.as_bytes())).unwrap(), Trust::Signed);
    fs::write(&path, "not a key\n").unwrap();
    assert_eq!(Signer::read(&path, || panic!("nobody is asked")).err().unwrap().kind(), Kind::Input);
}
