//! A SOCKS5 proxy (RFC 1928) without logins, which leads every host to one address.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running proxy; it ends when dropped.
pub struct Socks {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Socks {
    /// Leads everything to this port of this machine.
    ///
    /// # Panics
    /// There is no loopback.
    pub fn start(port: u16) -> Socks {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        thread::spawn({
            let (asked, stop) = (asked.clone(), stop.clone());
            move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let asked = asked.clone();
                    // A client that hangs up is no failure of a proxy.
                    thread::spawn(move || drop(serve(stream, port, &asked)));
                }
            }
        });
        Socks { address, asked, stop }
    }

    /// `socks5h://…`: the proxy looks names up.
    pub fn url(&self) -> String {
        format!("socks5h://{}", self.address)
    }

    /// `HOST:PORT` of each connection so far, as the clients asked for it.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panicked").clone()
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut client: TcpStream, port: u16, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let [_, methods] = read(&mut client)?;
    skip(&mut client, usize::from(methods))?;
    client.write_all(&[5, 0])?;
    let [_, command, _, kind] = read(&mut client)?;
    let host = match kind {
        1 => std::net::Ipv4Addr::from(read::<4>(&mut client)?).to_string(),
        3 => {
            let [length] = read(&mut client)?;
            String::from_utf8_lossy(&skip(&mut client, usize::from(length))?).into_owned()
        }
        _ => std::net::Ipv6Addr::from(read::<16>(&mut client)?).to_string(),
    };
    let wanted = u16::from_be_bytes(read(&mut client)?);
    asked.lock().expect("no thread panicked").push(format!("{host}:{wanted}"));
    if command != 1 {
        return client.write_all(&[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let there = thread::spawn(move || pass(from, to));
    pass(server, client)?;
    there.join().unwrap_or(Ok(()))
}

fn pass(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
    copied.map(drop)
}

fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(stream: &mut TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
