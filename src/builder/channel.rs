//! The socket at which kbuild waits, outside of the seal, while BitBake runs.
//!
//! kbuild's class connects to it from inside. It tells what goes on, and asks for objects of shared state: whether a cache
//! elsewhere has one, and to write it into a file that it opened itself and hands over. So nothing inside needs a network, and
//! kbuild writes nowhere but where the build could write anyway. Beside it, one socket for each server that `[cache]` names:
//! bytes go to that server and to nothing else.
//!
//! Nothing that comes in is trusted. Any task can connect: what it can do with it is to have a configured cache read, and to
//! say things about the build that are shown to a person.

use std::fs::File;
use std::io::{IoSliceMut, Result as IoResult};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};

use super::failure::plain;
use super::result::CacheRecord;
use super::seal::Forward;
use super::watch::BuildEvent;
use crate::bitbake::conf::{self, ForwardedServer};
use crate::bounds;
use crate::cache::{Caches, ObjectName};
use crate::disk;
use crate::error::{Error, Result};
use crate::manifest::{CachePlace, ServerAddress};
use crate::progress::{Progress, Task};

/// The directory of the sockets inside TOPDIR, and the name of kbuild's own.
const DIRECTORY: &str = "kbuild";
const SOCKET: &str = "kbuild.sock";

/// The longest message, in bytes. An event has a few hundred.
const MESSAGE: usize = bounds::BUILD_MESSAGE as usize;

/// How many connections may be open at once: BitBake has one for itself, and one for each task and thread that asks.
const CONNECTIONS: usize = 512;

/// How many connections to a server may be open at once.
const FORWARDED_CONNECTIONS: usize = 128;

/// How long connecting to a server may take.
const CONNECT: Duration = Duration::from_secs(20);

/// How long nothing new is accepted after it failed: the process has no descriptor left, for one.
const AGAIN: Duration = Duration::from_millis(100);

/// What a build has of `[cache]` while it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct CacheAccess {
    /// Caches elsewhere.
    pub(super) pull: Vec<CachePlace>,
    /// The servers of [`conf::FORWARDED`], in that order.
    pub(super) servers: [Option<ServerAddress>; 2],
    /// At most so many transfers at once.
    pub(super) jobs: usize,
}

/// What comes to whoever watches a build.
#[derive(Debug)]
pub(super) enum Message {
    /// Of kbuild's class.
    Event(BuildEvent),
    /// Something that a person should know.
    Warning(String),
    /// A line that BitBake printed.
    Line(String),
    /// BitBake ended, and nothing more comes.
    End,
}

/// What is asked from inside.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Question {
    Has { has: String },
    Bring { bring: String },
    Event(BuildEvent),
}

/// The waiting sockets. Dropping it removes them.
pub(super) struct Channel {
    directory: SocketDir,
    listener: OwnedFd,
    connections: Mutex<Vec<Arc<OwnedFd>>>,
    caches: Caches,
    runtime: tokio::runtime::Runtime,
    record: Mutex<CacheRecord>,
    stopped: AtomicBool,
    stop: Notify,
    messages: SyncSender<Message>,
}

/// The directory of the sockets, by its descriptor: the build can put a link to another one in place of its name.
struct SocketDir(OwnedFd);

impl Channel {
    /// Waits at the sockets of a board.
    ///
    /// # Errors
    /// The sockets cannot be made.
    pub(super) fn open(topdir: &Path, access: &CacheAccess, messages: SyncSender<Message>) -> Result<Channel> {
        let path = topdir.join(DIRECTORY);
        let failed = |error| Error::io("write", &path, error);
        let directory = SocketDir::make(&path)?;
        let listener = listen(&directory).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Error::bug("could not start the async runtime").because(error))?;
        let notes: Arc<dyn Progress> = Arc::new(Retries(messages.clone()));
        let channel = Channel {
            caches: Caches::new(&access.pull, access.jobs.max(1), notes),
            directory,
            listener,
            connections: Mutex::default(),
            runtime,
            record: Mutex::default(),
            stopped: AtomicBool::new(false),
            stop: Notify::new(),
            messages,
        };
        if !channel.caches.is_empty() {
            channel.directory.mark(conf::CACHES).map_err(failed)?;
        }
        for (server, address) in servers(access) {
            channel.forward(server, address).map_err(failed)?;
        }
        Ok(channel)
    }

    /// What the process inside must forward to this channel's sockets.
    pub(super) fn forwards(topdir: &Path, access: &CacheAccess) -> Vec<Forward> {
        let forward =
            |(server, _): (&ForwardedServer, _)| Forward { port: server.port, socket: socket_of(topdir, server) };
        servers(access).map(forward).collect()
    }

    /// Answers until it is stopped; each connection has a thread.
    pub(super) fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        while !self.stopped.load(Ordering::Relaxed) {
            let accepted = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC);
            let Ok(connection) = accepted else {
                if !self.stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(AGAIN);
                }
                continue;
            };
            let connection = Arc::new(connection);
            let mut open = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|other| Arc::strong_count(other) > 1);
            if self.stopped.load(Ordering::Relaxed) || open.len() >= CONNECTIONS {
                continue;
            }
            open.push(Arc::clone(&connection));
            drop(open);
            scope.spawn(move || self.converse(&connection));
        }
    }

    /// Something whose end stops the channel, also when a thread panics that others wait for.
    pub(super) fn stopped_at_end(&self) -> impl Drop + '_ {
        StopAtEnd(self)
    }

    /// Ends all conversations; what is being brought is dropped.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.stop.notify_waiters();
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Both);
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = rustix::net::shutdown(&**connection, Shutdown::Both);
        }
    }

    /// What was brought from caches.
    pub(super) fn record(&self) -> CacheRecord {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn converse(&self, connection: &OwnedFd) {
        while let Ok(Some((bytes, file))) = receive(connection) {
            let Ok(question) = serde_json::from_slice::<Question>(&bytes) else {
                tracing::debug!("not understood: {}", String::from_utf8_lossy(&bytes));
                continue;
            };
            let answer = match question {
                Question::Event(event) => {
                    self.tell(Message::Event(event));
                    continue;
                }
                Question::Has { has } => json!({ "has": self.has(&has) }),
                Question::Bring { bring } => self.bring(&bring, file),
            };
            if rustix::net::send(connection, answer.to_string().as_bytes(), SendFlags::NOSIGNAL).is_err() {
                return;
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        let Ok(name) = name.parse::<ObjectName>() else { return false };
        self.wait(self.caches.has(&name)).unwrap_or(false)
    }

    fn bring(&self, name: &str, file: Option<OwnedFd>) -> Value {
        let brought = || -> Result<bool> {
            let name: ObjectName = name.parse()?;
            let Some(file) = file.map(File::from).filter(may_be_filled) else { return Ok(false) };
            let brought = self.wait(self.caches.bring(&name, &file)).transpose()?.flatten();
            if let Some(brought) = &brought {
                self.record.lock().unwrap_or_else(PoisonError::into_inner).add(&name, brought);
            }
            Ok(brought.is_some())
        };
        match brought() {
            Ok(brought) => json!({ "brought": brought }),
            Err(error) => {
                let why = std::iter::once(error.to_string()).chain(error.causes()).collect::<Vec<_>>().join(": ");
                self.tell(Message::Warning(format!("{}: {why}", plain(name))));
                json!({ "brought": false })
            }
        }
    }

    /// The end of some work; nothing when the channel is stopped first.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            let stop = self.stop.notified();
            let mut stop = std::pin::pin!(stop);
            stop.as_mut().enable();
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            tokio::select! {
                done = work => Some(done),
                () = stop => None,
            }
        })
    }

    fn tell(&self, message: Message) {
        // Whoever watched may be gone already.
        let _ = self.messages.send(message);
    }

    /// Forwards connections to a socket of TOPDIR to a server.
    fn forward(&self, server: &ForwardedServer, address: &ServerAddress) -> IoResult<()> {
        let _in_runtime = self.runtime.enter();
        let listener = UnixListener::bind(self.directory.at(&socket_name(server)))?;
        self.runtime.spawn(forward_all(listener, address.clone(), self.messages.clone()));
        self.directory.mark(server.marker)
    }
}

struct StopAtEnd<'a>(&'a Channel);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.stop();
        self.directory.clear();
    }
}

impl SocketDir {
    /// The directory, empty: what is in it is of runs before, which may have been killed.
    fn make(path: &Path) -> Result<SocketDir> {
        disk::remove_dir_all(path)?;
        disk::create_dir_all(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(path, flags, Mode::empty());
        held.map(SocketDir).map_err(|error| Error::io("open", path, error.into()))
    }

    /// The path of a name in it; short, however deep it is: the address of a socket has room for 107 bytes (unix(7)).
    fn at(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }

    /// Makes one of the files that say what there is.
    fn mark(&self, marker: &str) -> IoResult<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, name_of(marker), flags, Mode::from_raw_mode(0o644))?;
        Ok(())
    }

    /// Removes what a channel makes. What remains is removed by the next one.
    fn clear(&self) {
        let of_servers =
            conf::FORWARDED.iter().flat_map(|server| [socket_name(server), name_of(server.marker).to_owned()]);
        for name in of_servers.chain([SOCKET.to_owned(), name_of(conf::CACHES).to_owned()]) {
            let _ = rustix::fs::unlinkat(&self.0, name, AtFlags::empty());
        }
    }
}

/// Passes on what comes to a socket, each connection to a new one of the server.
async fn forward_all(listener: UnixListener, address: ServerAddress, messages: SyncSender<Message>) {
    let (room, complained) = (Arc::new(Semaphore::new(FORWARDED_CONNECTIONS)), AtomicBool::new(false));
    let to = Arc::new((address, messages, complained));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((inside, _)) = listener.accept().await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let to = Arc::clone(&to);
        tokio::spawn(async move {
            let (address, messages, complained) = &*to;
            if let Err(why) = forward_one(inside, address).await
                && !complained.swap(true, Ordering::Relaxed)
            {
                let warning = format!("{address} cannot be reached ({why}); the build goes on without it");
                let _ = messages.send(Message::Warning(warning));
            }
            drop(permit);
        });
    }
}

/// Passes bytes on in both directions, until one side ends. Fails, with the reason, if the server cannot be reached.
async fn forward_one(mut inside: UnixStream, address: &ServerAddress) -> Result<(), String> {
    let connect = TcpStream::connect((address.host.as_str(), address.port));
    let connected = tokio::time::timeout(CONNECT, connect).await;
    let mut outside =
        connected.map_err(|_| format!("no answer for {} s", CONNECT.as_secs()))?.map_err(|error| error.to_string())?;
    // How a connection ends is the affair of the two who speak.
    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
    Ok(())
}

/// Whether kbuild may write into a file that came from inside: an empty one that a disk, or memory, holds. Anything else (a pipe
/// that nobody reads) would hold up the build. Files of the kernel's are regular and empty too, and what may be written
/// to them is decided by who writes: that would be kbuild.
fn may_be_filled(file: &File) -> bool {
    /// `PROC_SUPER_MAGIC`, `SYSFS_MAGIC`, `CGROUP_SUPER_MAGIC`, `CGROUP2_SUPER_MAGIC` of statfs(2).
    const OF_THE_KERNEL: [u32; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
    let is_empty = file.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
    // f_type has another width on each architecture; the magics fit into 32 bits.
    is_empty && rustix::fs::fstatfs(file).is_ok_and(|found| !OF_THE_KERNEL.contains(&(found.f_type as u32)))
}

/// The servers that are forwarded to.
fn servers(access: &CacheAccess) -> impl Iterator<Item = (&'static ForwardedServer, &ServerAddress)> {
    conf::FORWARDED.iter().zip(&access.servers).filter_map(|(server, address)| Some((server, address.as_ref()?)))
}

fn socket_of(topdir: &Path, server: &ForwardedServer) -> PathBuf {
    topdir.join(DIRECTORY).join(socket_name(server))
}

fn socket_name(server: &ForwardedServer) -> String {
    format!("{}.sock", name_of(server.marker))
}

/// The name of a file in [`DIRECTORY`], out of its path below TOPDIR.
fn name_of(below_topdir: &str) -> &str {
    below_topdir.rsplit('/').next().unwrap_or(below_topdir)
}

/// A socket of packets: messages have their ends, and an open file can come with one.
fn listen(directory: &SocketDir) -> IoResult<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(directory.at(SOCKET))?)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

/// The next message, with the file that came with it; nothing at the end.
fn receive(connection: &OwnedFd) -> IoResult<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(connection, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<OwnedFd>>(),
        _ => Vec::new(),
    });
    let file = files.next();
    drop(files);
    if received.bytes == 0 || received.flags.contains(ReturnFlags::TRUNC) {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some((bytes, file)))
}

/// Tells of retries, and of nothing else: hundreds of objects are brought, each in a moment.
struct Retries(SyncSender<Message>);

struct RetriedTask {
    what: String,
    messages: SyncSender<Message>,
}

impl Progress for Retries {
    fn begin(&self, what: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(RetriedTask { what: what.to_owned(), messages: self.0.clone() })
    }

    fn warn(&self, message: &str) {
        let _ = self.0.send(Message::Warning(message.to_owned()));
    }
}

impl Task for RetriedTask {
    fn set_total(&self, _total: u64) {}
    fn set_position(&self, _position: u64) {}
    fn done(&self, _note: &str) {}

    fn note(&self, note: &str) {
        let _ = self.messages.send(Message::Warning(format!("{}: {note}", self.what)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::mpsc;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage};

    use super::*;

    /// As kbuild's class does it.
    struct Client(OwnedFd);

    impl Client {
        fn connect(topdir: &Path) -> Client {
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
            let socket = socket.unwrap();
            let held = rustix::fs::open(topdir.join(DIRECTORY), OFlags::PATH, Mode::empty()).unwrap();
            let directory = SocketDir(held);
            let address = SocketAddrUnix::new(directory.at(SOCKET)).unwrap();
            rustix::net::connect(&socket, &address).unwrap();
            Client(socket)
        }

        fn send(&self, text: &str, file: Option<&File>) {
            use std::os::fd::AsFd as _;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let files: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
            if !files.is_empty() {
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
            }
            let bytes = [std::io::IoSlice::new(text.as_bytes())];
            rustix::net::sendmsg(&self.0, &bytes, &mut ancillary, SendFlags::empty()).unwrap();
        }

        fn ask(&self, text: &str, file: Option<&File>) -> Value {
            self.send(text, file);
            serde_json::from_slice(&receive(&self.0).unwrap().unwrap().0).unwrap()
        }
    }

    #[test]
    fn objects_are_brought_into_a_file_that_comes_along_and_events_are_passed_on() {
        let place = tempfile::tempdir().unwrap();
        // Deeper than the address of a socket can be long.
        let topdir = place.path().join("x".repeat(120));
        let cache = place.path().join("cache/ab");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::create_dir_all(&topdir).unwrap();
        std::fs::write(cache.join("sstate:a:1_x.tar.zst"), "state").unwrap();
        let pull = vec![CachePlace::Directory(place.path().join("cache"))];
        let (messages, received) = mpsc::sync_channel(64);
        let channel =
            Channel::open(&topdir, &CacheAccess { pull, jobs: 2, ..CacheAccess::default() }, messages).unwrap();
        assert!(topdir.join(conf::CACHES).exists());
        std::thread::scope(|scope| {
            let _stop = channel.stopped_at_end();
            scope.spawn(|| channel.serve(scope));
            let client = Client::connect(&topdir);
            client.send(r#"{"event": "parsed"}"#, None);
            client.send("nonsense", None);
            assert_eq!(client.ask(r#"{"has": "ab/sstate:a:1_x.tar.zst"}"#, None), json!({ "has": true }));
            assert_eq!(client.ask(r#"{"has": "ab/../../secret"}"#, None), json!({ "has": false }));
            let mut file = tempfile::tempfile().unwrap();
            let question = r#"{"bring": "ab/sstate:a:1_x.tar.zst"}"#;
            assert_eq!(client.ask(question, Some(&file)), json!({ "brought": true }));
            let mut text = String::new();
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "state");
            // kbuild would write as who it is, not as who opened the file.
            let of_kernel = File::options().write(true).open("/proc/self/comm").unwrap();
            assert_eq!(client.ask(question, Some(&of_kernel)), json!({ "brought": false }));
            // A file with something in it is none to write over, and without a file there is nowhere to write to.
            assert_eq!(client.ask(question, Some(&file)), json!({ "brought": false }));
            assert_eq!(client.ask(question, None), json!({ "brought": false }));
        });
        assert!(matches!(received.try_recv(), Ok(Message::Event(BuildEvent::Parsed))));
        let record = channel.record();
        assert_eq!(
            record.brought.values().map(|brought| (brought.objects, brought.bytes)).collect::<Vec<_>>(),
            [(1, 5)]
        );
        drop(channel);
        assert!(!topdir.join(conf::CACHES).exists() && !topdir.join("kbuild/kbuild.sock").exists());
    }

    #[test]
    fn a_message_that_is_too_long_ends_its_connection() {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let longest = vec![b'x'; MESSAGE];
        rustix::net::send(&one, &longest, SendFlags::empty()).unwrap();
        assert_eq!(receive(&other).unwrap().unwrap().0, longest);
        rustix::net::send(&one, &[&longest[..], b"x"].concat(), SendFlags::empty()).unwrap();
        assert!(receive(&other).unwrap().is_none());
    }

    #[test]
    fn a_link_in_place_of_the_directory_leads_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let (topdir, elsewhere) = (place.path().join("top"), place.path().join("elsewhere"));
        std::fs::create_dir_all(&topdir).unwrap();
        std::fs::create_dir_all(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("caches"), "of somebody").unwrap();
        let link = || std::os::unix::fs::symlink(&elsewhere, topdir.join(DIRECTORY)).unwrap();
        link();
        let access = CacheAccess { pull: vec![CachePlace::Directory(elsewhere.clone())], ..CacheAccess::default() };
        let (messages, _received) = mpsc::sync_channel(64);
        let channel = Channel::open(&topdir, &access, messages).unwrap();
        assert!(topdir.join(conf::CACHES).exists() && !topdir.join(DIRECTORY).is_symlink());
        std::fs::rename(topdir.join(DIRECTORY), topdir.join("aside")).unwrap();
        link();
        drop(channel);
        assert!(!topdir.join("aside/caches").exists());
        let names: Vec<_> = std::fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["caches"]);
    }

    #[test]
    fn a_socket_leads_to_its_server_and_to_nothing_else() {
        use std::io::Write as _;
        let place = tempfile::tempdir().unwrap();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let address = ServerAddress { host: "127.0.0.1".to_owned(), port };
        let access = CacheAccess { servers: [Some(address), None], ..CacheAccess::default() };
        let (messages, _received) = mpsc::sync_channel(64);
        let _channel = Channel::open(place.path(), &access, messages).unwrap();
        let forwards = Channel::forwards(place.path(), &access);
        assert_eq!(forwards.len(), 1);
        assert!(place.path().join("kbuild/hashserve").exists() && !place.path().join("kbuild/prserve").exists());
        let mut inside = std::os::unix::net::UnixStream::connect(&forwards[0].socket).unwrap();
        inside.write_all(b"ping").unwrap();
        let (mut outside, _) = server.accept().unwrap();
        let mut bytes = [0; 4];
        outside.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ping");
        outside.write_all(b"pong").unwrap();
        inside.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"pong");
    }
}
