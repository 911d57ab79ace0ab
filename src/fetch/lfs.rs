//! Objects of Git LFS, by the batch API (git-lfs, `docs/api/batch.md` and `docs/api/basic-transfers.md`), with the logins and the
//! `insteadOf` of the user's git configuration. The client `git-lfs` is not needed.
//!
//! A server is asked for as many objects at once as are waiting for an answer. What it gives for one is an address with
//! headers, good for some minutes, from where the bytes are fetched as those of any file: resumed, and judged by their hash.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::Fetcher;
use super::git::GitLogin;
use super::peer::Endpoint;
use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::net::blocking;
use crate::net::http::{GivenAddress, Http, basic_login, failed, read_whole, retry_after, secret_header};
use crate::net::retry::{Class, Failure};
use crate::net::transfer::{BodyStream, Delivery, Download, Expected, at, partial};
use crate::progress::Task;
use crate::source::name::percent_decode;
use crate::source::url::redact;
use crate::source::{Access, CommitId, Sha256, SourceUrl};
use crate::store::PartialDownload;

/// The media type of the API.
const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// Objects in one request, as git-lfs has it (`tq/transfer_queue.go`, `defaultBatchSize`).
const BATCH: usize = 100;

/// How long an answer counts where the server says nothing else.
const FRESH: Duration = Duration::from_secs(300);

/// How much of a file in a folder is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// An object of Git LFS that a commit needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LfsObject {
    /// Where its pointer stands in the tree.
    pub path: String,
    /// Its SHA-256.
    pub oid: Sha256,
    /// In bytes.
    pub size: u64,
    /// The server that has it (a URL of [`Access::Lfs`]).
    pub server: SourceUrl,
}

/// The LFS servers of one fetcher.
#[derive(Default)]
pub(crate) struct LfsServers {
    servers: Mutex<HashMap<SourceUrl, Arc<LfsServer>>>,
}

/// What is known of one server.
#[derive(Default)]
struct LfsServer {
    /// Held by whoever asks it.
    turn: tokio::sync::Mutex<Option<LfsEndpoint>>,
    book: Mutex<LfsBook>,
}

/// What is wanted of a server, and what it answered.
#[derive(Default)]
struct LfsBook {
    wanted: BTreeMap<Sha256, u64>,
    answers: BTreeMap<Sha256, (Instant, LfsAnswer)>,
}

/// What a server says of an object.
enum LfsAnswer {
    Here(LfsAction),
    No(LfsError),
}

/// Where a server really is.
#[derive(Clone)]
enum LfsEndpoint {
    /// A folder that is a repository.
    Folder(PathBuf),
    /// An address, without credentials in it, and the header to log in with, if one is known.
    Address { url: Url, login: Option<HeaderValue> },
}

#[derive(Serialize)]
struct BatchRequest {
    operation: &'static str,
    transfers: [&'static str; 1],
    hash_algo: &'static str,
    objects: Vec<BatchObject>,
}

#[derive(Serialize)]
struct BatchObject {
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct BatchAnswer {
    transfer: Option<String>,
    objects: Vec<AnsweredObject>,
}

#[derive(Deserialize)]
struct AnsweredObject {
    oid: Sha256,
    actions: Option<LfsActions>,
    error: Option<LfsError>,
}

#[derive(Deserialize)]
struct LfsActions {
    download: Option<LfsAction>,
}

/// Neither `Debug` nor `Display`: address and headers hold credentials.
#[derive(Deserialize)]
struct LfsAction {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct LfsError {
    code: u16,
    #[serde(default)]
    message: String,
}

/// What a server says of a request that it refuses.
#[derive(Deserialize)]
struct LfsRefusal {
    message: String,
}

impl Fetcher {
    /// The objects of Git LFS that a commit in the store needs, and the server that has them: the one that the commit itself names
    /// in `.lfsconfig`, or that of its repository.
    ///
    /// # Errors
    /// As [`crate::store::Store::lfs_contents`]; a server's URL that is not usable.
    pub async fn lfs_objects(&self, url: &SourceUrl, commit: &CommitId) -> Result<Vec<LfsObject>> {
        let (store, of) = (self.store.clone(), *commit);
        // A large tree is walked to its end.
        let contents = blocking(move || store.lfs_contents(&of)).await?;
        if contents.pointers.is_empty() {
            return Ok(Vec::new());
        }
        let server = server_of(url, contents.server.as_deref());
        let server =
            server.map_err(|error| error.wrap(format!("commit {commit} of {url} names no usable LFS server")))?;
        let object = |(path, pointer): (String, crate::source::LfsPointer)| LfsObject {
            path,
            oid: pointer.oid,
            size: pointer.size,
            server: server.clone(),
        };
        Ok(contents.pointers.into_iter().map(object).collect())
    }

    /// Brings an object into a partial download.
    pub(super) async fn lfs_transfer(
        &self,
        url: &SourceUrl,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
    ) -> Result<Delivery, Failure> {
        let (Some(oid), Some(size)) = (expected.sha256, expected.size) else {
            return Err(Failure::permanent(at(url, "an LFS object is asked for by its hash and size")));
        };
        let server = self.lfs.server(url);
        let (endpoint, action) = {
            let mut turn = server.turn.lock().await;
            if turn.is_none() {
                *turn = Some(self.lfs_endpoint(url).await?);
            }
            let endpoint = turn.as_mut().ok_or_else(|| Error::bug("an LFS server without an address"))?;
            let action = match endpoint {
                LfsEndpoint::Folder(_) => None,
                LfsEndpoint::Address { .. } => Some(self.lfs_action(url, &server, endpoint, oid, size).await?),
            };
            (endpoint.clone(), action)
        };
        match (endpoint, action) {
            (LfsEndpoint::Address { url: asked, login }, Some(action)) => {
                let address = action.address(url, &asked, login)?;
                self.http.transfer_from(url, &address, slot, expected, task).await
            }
            (LfsEndpoint::Folder(folder), _) => self.lfs_from_folder(url, &folder, &oid, slot, expected, task).await,
            (LfsEndpoint::Address { .. }, None) => Err(Error::bug("an LFS server was not asked").into()),
        }
    }

    /// Where a server really is: what `insteadOf` makes of its URL, and for ssh what the host says.
    async fn lfs_endpoint(&self, url: &SourceUrl) -> Result<LfsEndpoint, Failure> {
        let place = url.lfs_place().ok_or_else(|| Error::bug(format!("{url} is no LFS server")))?;
        let real = self.git.rewritten(&place).await?;
        if let Some(folder) = folder(&real) {
            return Ok(LfsEndpoint::Folder(folder));
        }
        let usable = Url::parse(&real).ok().filter(|url| ["http", "https", "ssh"].contains(&url.scheme()));
        let mut real = usable
            .ok_or_else(|| Failure::permanent(at(url, "git's `insteadOf` leads to an address that is none of LFS")))?;
        if real.scheme() == "ssh" {
            return self.lfs_over_ssh(url, &real).await;
        }
        let own = (!real.username().is_empty() || real.password().is_some()).then(|| {
            basic_login(&percent_decode(real.username()), &percent_decode(real.password().unwrap_or_default()))
        });
        let _ = (real.set_username(""), real.set_password(None));
        let configured = self.git.extra_header(real.as_str()).await.and_then(|line| authorization(&line));
        let host = real.host_str().unwrap_or_default();
        let netrc = || self.http.netrc().for_host(host).and_then(|(user, password)| basic_login(user, password));
        let login = own.flatten().or(configured).or_else(netrc);
        Ok(LfsEndpoint::Address { url: real, login })
    }

    /// A host that speaks ssh says where its LFS server is, and gives a header for it (`docs/api/authentication.md`).
    async fn lfs_over_ssh(&self, url: &SourceUrl, host: &Url) -> Result<LfsEndpoint, Failure> {
        let said = self.git.lfs_authenticate(url, host).await?;
        let action: LfsAction = serde_json::from_slice(&said)
            .map_err(|_| Failure::permanent(at(url, "what its host says to git-lfs-authenticate cannot be read")))?;
        let place = Url::parse(&action.href).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let place = place.ok_or_else(|| Failure::permanent(at(url, "its host names no LFS server")))?;
        let login = action.headers().and_then(|headers| headers.get(header::AUTHORIZATION).cloned());
        Ok(LfsEndpoint::Address { url: place, login })
    }

    /// What the server answers for an object. Others that are waiting are asked for in the same request.
    async fn lfs_action(
        &self,
        url: &SourceUrl,
        server: &LfsServer,
        endpoint: &mut LfsEndpoint,
        oid: Sha256,
        size: u64,
    ) -> Result<LfsAction, Failure> {
        if let Some(answer) = server.taken(&oid) {
            return answer.or_refusal(url);
        }
        let objects = server.next_batch(oid, size);
        let answer = self.lfs_batch(url, endpoint, &objects).await;
        let answer = answer.inspect_err(|_| server.book().wanted.extend(&objects))?;
        if answer.transfer.as_deref().is_some_and(|transfer| transfer != "basic") {
            return Err(Failure::permanent(at(url, "the server speaks no `basic` transfer")));
        }
        server.note(answer.objects);
        let missing = || Failure::permanent(at(url, format!("the server says nothing of object {oid}")));
        server.taken(&oid).ok_or_else(missing)?.or_refusal(url)
    }

    /// Asks once more with a login, if the server wants one.
    async fn lfs_batch(
        &self,
        url: &SourceUrl,
        endpoint: &mut LfsEndpoint,
        objects: &BTreeMap<Sha256, u64>,
    ) -> Result<BatchAnswer, Failure> {
        let LfsEndpoint::Address { url: place, login } = endpoint else {
            return Err(Error::bug("a folder is not asked").into());
        };
        let response = send_batch(&self.http, url, place, login.as_ref(), objects).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return answered(url, response).await;
        }
        let Some(found) = self.git.login(place.as_str()).await else { return answered(url, response).await };
        let Some(header) = basic_login(&found.user, &found.password) else { return answered(url, response).await };
        let response = send_batch(&self.http, url, place, Some(&header), objects).await?;
        let right = response.status() != StatusCode::UNAUTHORIZED;
        self.git.login_was(&found, right).await;
        if right {
            *login = Some(header);
        }
        answered(url, response).await
    }

    async fn lfs_from_folder(
        &self,
        url: &SourceUrl,
        folder: &Path,
        oid: &Sha256,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
    ) -> Result<Delivery, Failure> {
        let oid = oid.to_string();
        let below = format!("lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]);
        let places = [folder.join(&below), folder.join(".git").join(&below)];
        let Some(file) = places.iter().find_map(|path| std::fs::File::open(path).ok()) else {
            let why = format!("there is no object {oid} in this folder");
            return Err(Failure::permanent(at(url, why).of_kind(Kind::Missing)));
        };
        partial(slot)?.restart()?;
        let (asked, policy) = (url.as_url(), &self.policy);
        let inflow = Download { url: asked, end: asked, expected, task, policy, from: 0, total: expected.size };
        let head = inflow.take(slot, &mut FolderFile { url, file: Some(file) }).await?;
        Ok(Delivery { url: asked.clone(), head, resumed: false })
    }
}

impl LfsServers {
    fn server(&self, url: &SourceUrl) -> Arc<LfsServer> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.entry(url.clone()).or_default().clone()
    }

    /// Notes what is about to be asked for, so that whoever asks first asks for all of it.
    pub(crate) fn announce(&self, oid: Sha256, size: u64, places: &[Result<Endpoint>]) {
        for place in places {
            if let Ok(Endpoint::Url(url)) = place
                && url.access() == Access::Lfs
            {
                self.server(url).book().wanted.insert(oid, size);
            }
        }
    }
}

impl LfsServer {
    fn book(&self) -> MutexGuard<'_, LfsBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer that still counts. It counts once: whoever has to try again asks again.
    fn taken(&self, oid: &Sha256) -> Option<LfsAnswer> {
        let (asked, answer) = self.book().answers.remove(oid)?;
        let lasts = match &answer {
            LfsAnswer::Here(action) => {
                action.expires_in.map_or(FRESH, |seconds| FRESH.min(Duration::from_secs(seconds)))
            }
            LfsAnswer::No(_) => FRESH,
        };
        (asked.elapsed() < lasts).then_some(answer)
    }

    fn next_batch(&self, oid: Sha256, size: u64) -> BTreeMap<Sha256, u64> {
        let mut book = self.book();
        let others: Vec<_> = book.wanted.iter().filter(|(other, _)| **other != oid).take(BATCH - 1).collect();
        let mut batch: BTreeMap<Sha256, u64> = others.into_iter().map(|(oid, size)| (*oid, *size)).collect();
        batch.insert(oid, size);
        book.wanted.retain(|oid, _| !batch.contains_key(oid));
        batch
    }

    fn note(&self, objects: Vec<AnsweredObject>) {
        let now = Instant::now();
        let mut book = self.book();
        for AnsweredObject { oid, actions, error } in objects {
            let answer = match (error, actions.and_then(|actions| actions.download)) {
                (Some(error), _) => LfsAnswer::No(error),
                (None, Some(action)) => LfsAnswer::Here(action),
                (None, None) => LfsAnswer::No(LfsError { code: 404, message: "no download is offered".to_owned() }),
            };
            book.answers.insert(oid, (now, answer));
        }
    }
}

impl LfsAnswer {
    fn or_refusal(self, url: &SourceUrl) -> Result<LfsAction, Failure> {
        let LfsError { code, message } = match self {
            LfsAnswer::Here(action) => return Ok(action),
            LfsAnswer::No(error) => error,
        };
        let message: String = redact(message.trim()).chars().filter(|c| !c.is_control()).take(200).collect();
        let error = at(url, format!("the server answered {code} for the object ({message})"));
        match Class::of_status(code, None) {
            Class::Permanent if matches!(code, 404 | 410) => Err(Failure::permanent(error.of_kind(Kind::Missing))),
            class => Err(Failure { class, error }),
        }
    }
}

impl LfsAction {
    fn headers(&self) -> Option<HeaderMap> {
        let pairs = self
            .header
            .iter()
            .map(|(name, value)| Some((HeaderName::try_from(name.as_str()).ok()?, secret_header(value)?)));
        pairs.collect()
    }

    /// Where the bytes are. The login for the server holds there too if it is the same server, and no other is given.
    fn address(&self, url: &SourceUrl, asked: &Url, login: Option<HeaderValue>) -> Result<GivenAddress, Failure> {
        let unusable = |why: &str| Failure::permanent(at(url, why.to_owned()));
        let place = Url::parse(&self.href).ok().filter(|place| ["http", "https"].contains(&place.scheme()));
        let place = place.ok_or_else(|| unusable("the server gives an address that is no URL of HTTP"))?;
        if asked.scheme() == "https" && place.scheme() == "http" {
            return Err(unusable("the server leads from https to http, which is not followed"));
        }
        let mut headers = self.headers().ok_or_else(|| unusable("the server gives headers that are none"))?;
        if place.origin() == asked.origin()
            && let Some(login) = login
        {
            headers.entry(header::AUTHORIZATION).or_insert(login);
        }
        Ok(GivenAddress { url: place, headers })
    }
}

async fn send_batch(
    http: &Http,
    url: &SourceUrl,
    place: &Url,
    login: Option<&HeaderValue>,
    objects: &BTreeMap<Sha256, u64>,
) -> Result<Response, Failure> {
    let mut address = place.clone();
    address.set_path(&format!("{}/objects/batch", place.path().trim_end_matches('/')));
    let objects = objects.iter().map(|(oid, size)| BatchObject { oid: oid.to_string(), size: *size }).collect();
    let body = BatchRequest { operation: "download", transfers: ["basic"], hash_algo: "sha256", objects };
    let body = serde_json::to_vec(&body).map_err(|error| Error::bug("a request is no JSON").because(error))?;
    let mut request = http.client()?.post(address).body(body);
    request = request.header(header::ACCEPT, MEDIA_TYPE).header(header::CONTENT_TYPE, MEDIA_TYPE);
    if let Some(login) = login {
        request = request.header(header::AUTHORIZATION, login);
    }
    request.send().await.map_err(|error| failed(url, error))
}

async fn answered(url: &SourceUrl, response: Response) -> Result<BatchAnswer, Failure> {
    let (status, after) = (response.status(), retry_after(response.headers()));
    let body = read_whole(url, response, bounds::LFS_ANSWER as usize).await?;
    if status.is_success() {
        let unreadable = |_| Failure::permanent(at(url, "what came is no answer of an LFS server"));
        return serde_json::from_slice(&body).map_err(unreadable);
    }
    let said: Option<LfsRefusal> = serde_json::from_slice(&body).ok();
    let said: String =
        said.iter().flat_map(|said| said.message.chars()).filter(|c| !c.is_control()).take(200).collect();
    let said = if said.is_empty() { String::new() } else { format!(" ({})", redact(&said)) };
    let error = at(url, format!("the server answered {status}{said}"));
    match (status, Class::of_status(status.as_u16(), after)) {
        (_, class @ Class::Transient { .. }) => Err(Failure { class, error }),
        (StatusCode::NOT_FOUND | StatusCode::GONE, _) => Err(Failure::permanent(error.of_kind(Kind::Missing))),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            let help = format!("give git a login for {} (git help credentials), or put it in ~/.netrc", url.host());
            Err(Failure::permanent(error.help(help)))
        }
        _ => Err(Failure::permanent(error)),
    }
}

/// A file of a repository in a folder.
struct FolderFile<'a> {
    url: &'a SourceUrl,
    /// Taken while it is read.
    file: Option<std::fs::File>,
}

impl BodyStream for FolderFile<'_> {
    type Chunk = Vec<u8>;

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        use std::io::Read as _;
        let Some(mut file) = self.file.take() else { return Ok(None) };
        let read = blocking(move || {
            let mut piece = vec![0; PIECE];
            let count = file.read(&mut piece);
            Ok(count.map(|count| (piece[..count].to_vec(), file)))
        });
        let (piece, file) = read.await?.map_err(|error| Failure::permanent(at(self.url, error.to_string())))?;
        self.file = Some(file);
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// The server of a repository, or the one that its commit names. What comes over a network cannot lead to this machine's files.
fn server_of(repository: &SourceUrl, named: Option<&str>) -> Result<SourceUrl> {
    let Some(place) = named else { return repository.lfs_server() };
    let server = SourceUrl::lfs(place)?;
    if server.scheme() == "lfs+file" && repository.scheme() != "file" {
        return Err(Error::input("its .lfsconfig names a folder of this machine"));
    }
    Ok(server)
}

/// A path, or a `file:` URL.
fn folder(text: &str) -> Option<PathBuf> {
    if text.starts_with('/') {
        return Some(PathBuf::from(text));
    }
    Url::parse(text).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
}

/// The value of an `Authorization` header of git's `http.extraHeader`; other headers are not sent.
fn authorization(line: &str) -> Option<HeaderValue> {
    let (name, value) = line.split_once(':')?;
    name.trim().eq_ignore_ascii_case("authorization").then(|| secret_header(value.trim()))?
}

impl GitLogin {
    /// As `git credential` reads it (git-credential(1), "INPUT/OUTPUT FORMAT").
    pub(super) fn parse(said: &str, asked: &str) -> Option<GitLogin> {
        let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let (user, password) = (field("username")?.to_owned(), field("password")?.to_owned());
        Some(GitLogin { asked: asked.to_owned(), user, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_may_name_another_server_but_no_folder() {
        let url: SourceUrl = "https://h/o/r".parse().unwrap();
        assert_eq!(server_of(&url, None).unwrap().as_str(), "lfs+https://h/o/r.git/info/lfs");
        assert_eq!(server_of(&url, Some("https://lfs.corp/x")).unwrap().as_str(), "lfs+https://lfs.corp/x");
        for place in ["file:///srv/x", "/srv/x", "https://me:secret@lfs.corp/x", "ext::sh", "ssh://-oProxyCommand=x/y"]
        {
            let error = server_of(&url, Some(place)).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{place}");
            assert!(!error.to_string().contains("secret"));
        }
        let folder: SourceUrl = "file:///srv/r".parse().unwrap();
        assert!(server_of(&folder, Some("file:///srv/lfs")).is_ok());
    }
}
