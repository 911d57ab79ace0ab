//! The few addresses of the build's own loopback device that lead outside: to unix sockets at which kbuild waits.
//!
//! The sealed process itself listens, in the build's network namespace, and passes bytes on to the socket, which is in the
//! board's directory. Nothing of the host's network is in the namespace, so nothing else can be reached.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixStream};

/// A port of the build's loopback device and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// On 127.0.0.1, inside.
    pub port: u16,
    /// The socket outside; it can be reached by the same path inside.
    pub socket: PathBuf,
}

/// Listens at each address, until the runtime ends.
pub(super) fn listen(forwards: &[Forward]) -> io::Result<()> {
    for Forward { port, socket } in forwards {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?;
        listener.set_nonblocking(true)?;
        let (listener, socket) = (TcpListener::from_std(listener)?, socket.clone());
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let socket = socket.clone();
                tokio::spawn(async move {
                    if let Ok(mut outside) = connect(&socket).await {
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                    }
                });
            }
        });
    }
    Ok(())
}

/// Through the directory's descriptor: the address of a unix socket has room for 107 bytes (unix(7)).
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let held = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{}", held.as_raw_fd(), name.to_string_lossy())).await
}
