//! A small FTP server on the loopback that misbehaves as told: one file, passive mode, TLS when it is asked for.
#![allow(dead_code, reason = "each test includes what it needs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is wrong with a server.
#[derive(Debug, Clone, Default)]
pub struct Mishaps {
    /// It refuses whoever is not this user with this password.
    pub login: Option<(&'static str, &'static str)>,
    /// Instead of a file it gives this answer.
    pub refusal: Option<&'static str>,
    /// So many transfers, from the first on, end after that many bytes, in one of three ways.
    pub cuts: Vec<(usize, Cut)>,
    /// It knows neither SIZE nor REST.
    pub old: bool,
}

/// How a transfer is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server says 426.
    Told,
    /// The server says that all is well.
    Denied,
    /// Nothing more comes.
    Silence,
}

/// The server; its threads end with the process.
pub struct FtpServer {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    content: Vec<u8>,
    mishaps: Mutex<Mishaps>,
    commands: Mutex<Vec<String>>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl FtpServer {
    /// A server that has this content under every name.
    pub fn start(content: &[u8], mishaps: Mishaps, tls: Option<Arc<rustls::ServerConfig>>) -> FtpServer {
        FtpServer::start_at("127.0.0.1:0", content, mishaps, tls)
    }

    /// The same at another address of this machine.
    pub fn start_at(
        address: &str,
        content: &[u8],
        mishaps: Mishaps,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> FtpServer {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (mishaps, commands) = (Mutex::new(mishaps), Mutex::default());
        let state = Arc::new(State { content: content.to_vec(), mishaps, commands, tls });
        let serving = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = serving.clone();
                thread::spawn(move || Session { state, renamed: None }.run(stream));
            }
        });
        FtpServer { address, state }
    }

    /// The port it listens at.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A URL of a file.
    pub fn url(&self, path: &str) -> String {
        format!("ftp://{}{path}", self.address)
    }

    /// Every command that came, in order.
    pub fn commands(&self) -> Vec<String> {
        self.state.commands.lock().unwrap().clone()
    }

    /// How many commands with this word came.
    pub fn count(&self, word: &str) -> usize {
        self.commands().iter().filter(|command| command.split(' ').next() == Some(word)).count()
    }
}

struct Session {
    state: Arc<State>,
    renamed: Option<String>,
}

impl Session {
    fn run(mut self, socket: TcpStream) {
        let local = socket.local_addr().unwrap().ip();
        let mut control: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(socket.try_clone().unwrap()));
        let (mut data, mut from, mut secure) = (None, 0, false);
        say(&mut control, "220-kbuild\r\n220 test server");
        loop {
            let mut line = String::new();
            if control.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            self.state.commands.lock().unwrap().push(line.clone());
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let mishaps = self.state.mishaps.lock().unwrap().clone();
            match word {
                "AUTH" => {
                    let Some(config) = self.state.tls.clone() else {
                        say(&mut control, "502 no TLS here");
                        continue;
                    };
                    say(&mut control, "234 go ahead");
                    control = BufReader::new(over_tls(config, socket.try_clone().unwrap()));
                }
                "PBSZ" => say(&mut control, "200 as you say"),
                "PROT" => {
                    secure = rest == "P";
                    say(&mut control, "200 as you say");
                }
                "USER" => {
                    self.renamed = Some(rest.to_owned());
                    say(&mut control, "331 and the password?");
                }
                "PASS" => {
                    let user = self.renamed.clone().unwrap_or_default();
                    let fits = mishaps.login.is_none_or(|login| login == (user.as_str(), rest));
                    say(&mut control, if fits { "230 welcome" } else { "530 go away" });
                }
                "TYPE" => say(&mut control, "200 as you say"),
                "SIZE" if mishaps.old => say(&mut control, "500 what?"),
                "SIZE" => say(&mut control, &format!("213 {}", self.state.content.len())),
                "REST" if mishaps.old => say(&mut control, "502 not here"),
                "REST" => {
                    from = rest.parse().unwrap();
                    say(&mut control, "350 from there");
                }
                "PASV" | "EPSV" => {
                    let listener = TcpListener::bind((local, 0)).unwrap();
                    let port = listener.local_addr().unwrap().port();
                    data = Some(listener);
                    // Behind NAT servers give an address that leads nowhere, hostile ones one that leads elsewhere.
                    let (high, low) = (port / 256, port % 256);
                    let passive = format!("227 entering passive mode (10,1,2,3,{high},{low})");
                    let extended = format!("229 entering extended passive mode (|||{port}|)");
                    say(&mut control, if word == "PASV" { &passive } else { &extended });
                }
                "RETR" => {
                    if let Some(refusal) = mishaps.refusal {
                        say(&mut control, refusal);
                        continue;
                    }
                    let cut = {
                        let mut mishaps = self.state.mishaps.lock().unwrap();
                        if mishaps.cuts.is_empty() { None } else { Some(mishaps.cuts.remove(0)) }
                    };
                    let (socket, _) = data.take().unwrap().accept().unwrap();
                    say(&mut control, "150 here it comes");
                    let mut socket: Box<dyn Stream> = match self.state.tls.clone().filter(|_| secure) {
                        Some(config) => over_tls(config, socket),
                        None => Box::new(socket),
                    };
                    let rest = &self.state.content[std::mem::take(&mut from)..];
                    let end = cut.map_or(rest.len(), |(after, _)| after.min(rest.len()));
                    let _ = socket.write_all(&rest[..end]).and_then(|()| socket.flush());
                    match cut {
                        Some((_, Cut::Silence)) => thread::sleep(Duration::from_secs(5)),
                        Some((_, Cut::Told)) => {
                            drop(socket);
                            say(&mut control, "426 cut");
                        }
                        _ => {
                            drop(socket);
                            say(&mut control, "226 that was it");
                        }
                    }
                }
                "QUIT" => {
                    say(&mut control, "221 bye");
                    return;
                }
                _ => say(&mut control, "502 not here"),
            }
        }
    }
}

/// Serves TLS over a connection, and ends it in order when it is dropped.
fn over_tls(config: Arc<rustls::ServerConfig>, socket: TcpStream) -> Box<dyn Stream> {
    struct Ended(rustls::StreamOwned<rustls::ServerConnection, TcpStream>);
    impl Read for Ended {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Ended {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            self.0.write(buffer)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.conn.send_close_notify();
            let _ = self.0.flush();
        }
    }
    Box::new(Ended(rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), socket)))
}

fn say(control: &mut BufReader<Box<dyn Stream>>, answer: &str) {
    let stream = control.get_mut();
    let _ = stream.write_all(format!("{answer}\r\n").as_bytes()).and_then(|()| stream.flush());
}

/// Whether this machine has IPv6 on its loopback.
pub fn has_ipv6() -> bool {
    TcpListener::bind((IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 0)).is_ok()
}
