//! A board's machine under QEMU: its command line, from the board's section of the manifest and what this host has.
//!
//! The host's abilities are a value ([`QemuHost`]), so that tests can have each case on any host. The image itself is
//! never changed: writes go to a temporary file of QEMU's (`snapshot=on`) that is removed at the end.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};

use super::layers;
use super::prepare::{self, this_machine};
use super::result::{Artifact, ArtifactContent, BuildResult, FILE_NAME};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::files::MANIFEST;
use crate::manifest::{Arch, Machine, Manifest, Port};

/// The kinds of artifacts that can be the image where the manifest names none: the first kind that exists is taken.
const DISKS: [&str; 3] = [".wic.qcow2", ".qcow2", ".wic"];

/// The same where QEMU starts the kernel itself, so that the image need not be bootable.
const FILE_SYSTEMS: [&str; 2] = [".ext4", ".ext4.qcow2"];

/// Compressed forms, which QEMU cannot read.
const COMPRESSED: [&str; 5] = [".gz", ".bz2", ".xz", ".zst", ".lz4"];

/// How many artifacts a message names where none fits.
const LISTED: usize = 10;

/// What this host offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuHost {
    /// `uname -m`.
    pub arch: String,
    /// `/dev/kvm`.
    pub kvm: Kvm,
    /// Whether the kernel nests virtual machines.
    pub nested: Nested,
    /// Where programs are looked for.
    pub path: OsString,
    /// Where distributions keep firmware: `/usr/share`.
    pub share: PathBuf,
}

/// The kernel's virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kvm {
    /// This user can use them.
    Usable,
    /// They exist, but not for this user.
    Denied,
    /// They do not exist.
    Absent,
}

/// Virtual machines in virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    /// The kernel's module allows them.
    On,
    /// This module of the kernel does not.
    Off(&'static str),
    /// No module tells.
    Unknown,
}

/// A board to start.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The manifest; `build/` is beside it.
    pub manifest: &'a Manifest,
    /// The board's name.
    pub board: &'a str,
    /// Firmware named by hand.
    pub firmware: Option<&'a Path>,
    /// Further arguments for QEMU, last.
    pub extra: &'a [String],
    /// Whether KVM is not used, even where it exists.
    pub emulate: bool,
    /// Whether the board may be one that is not built: then the image's path is the one it would have.
    pub unbuilt: bool,
}

/// A machine, ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// QEMU's program for the architecture.
    pub program: String,
    /// Debian's package of it.
    pub package: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The image it starts from.
    pub image: PathBuf,
    /// The firmware, where it is not the machine's own.
    pub firmware: Option<PathBuf>,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// Warnings, each a sentence.
    pub warnings: Vec<String>,
}

impl QemuHost {
    /// Looks at this host.
    pub fn probe() -> QemuHost {
        QemuHost {
            arch: this_machine(),
            kvm: probe_kvm(Path::new("/dev/kvm")),
            nested: probe_nested(Path::new("/sys/module")),
            path: super::doctor::own_path(),
            share: PathBuf::from("/usr/share"),
        }
    }
}

fn probe_kvm(device: &Path) -> Kvm {
    match OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Kvm::Usable,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Kvm::Denied,
        Err(_) => Kvm::Absent,
    }
}

fn probe_nested(modules: &Path) -> Nested {
    for module in ["kvm_intel", "kvm_amd"] {
        if let Ok(text) = fs::read_to_string(modules.join(module).join("parameters/nested")) {
            return if matches!(text.trim(), "Y" | "1") { Nested::On } else { Nested::Off(module) };
        }
    }
    Nested::Unknown
}

/// What differs from architecture to architecture.
struct Model {
    machine: &'static str,
    /// Debian's package of the program.
    package: &'static str,
    /// UEFI as builds deploy it (oe-core's ovmf), then as distributions install it, below `/usr/share`.
    deployed: &'static [&'static str],
    installed: &'static [&'static str],
    /// Debian's package of the latter.
    firmware: &'static str,
}

fn model(arch: Arch) -> Model {
    match arch {
        Arch::Aarch64 => Model {
            machine: "virt",
            package: "qemu-system-arm",
            deployed: &[],
            installed: &[
                "AAVMF/AAVMF_CODE.fd",
                "edk2/aarch64/QEMU_EFI-pflash.raw",
                "qemu/edk2-aarch64-code.fd",
                "qemu/aavmf-aarch64-code.bin",
            ],
            firmware: "qemu-efi-aarch64",
        },
        Arch::Riscv64 => Model {
            machine: "virt",
            package: "qemu-system-misc",
            deployed: &[],
            installed: &[
                "qemu-efi-riscv64/RISCV_VIRT_CODE.fd",
                "edk2/riscv/RISCV_VIRT_CODE.fd",
                "qemu/edk2-riscv-code.fd",
            ],
            firmware: "qemu-efi-riscv64",
        },
        Arch::X86_64 => Model {
            machine: "q35",
            package: "qemu-system-x86",
            deployed: &["ovmf.code.qcow2", "ovmf.qcow2"],
            installed: &[
                "OVMF/OVMF_CODE_4M.fd",
                "OVMF/OVMF_CODE.fd",
                "edk2/x64/OVMF_CODE.4m.fd",
                "edk2/ovmf/OVMF_CODE.fd",
                "edk2-ovmf/x64/OVMF_CODE.fd",
                "qemu/ovmf-x86_64-code.bin",
                "qemu/edk2-x86_64-code.fd",
            ],
            firmware: "ovmf",
        },
    }
}

/// The machine of a board with the image that was built for it.
///
/// # Errors
/// Kind `Input`: a board without `run`, one that is not built, an image or firmware that is not there or not the only
/// one.
pub fn launch(start: &Start<'_>, host: &QemuHost) -> Result<Launch> {
    let board = start.manifest.board(start.board)?;
    let machine = board.run.as_ref().ok_or_else(|| {
        Error::input(format!("{MANIFEST} does not say what machine the board `{}` runs in", start.board))
            .help(format!("add `[boards.{}.run]` with `arch = \"…\"`: `kbuild explain run`", start.board))
    })?;
    let topdir = layers::build_directory(start.manifest)?.join(start.board);
    let built = Built { board: start.board, deploy: prepare::deploy(&topdir, &board.machine), artifacts: None };
    let built = built.read(&topdir.join(FILE_NAME), start.unbuilt)?;
    let kinds: Vec<&str> = match machine.kernel {
        Some(_) => FILE_SYSTEMS.into_iter().chain(DISKS).collect(),
        None => DISKS.to_vec(),
    };
    let image = built.find("image", machine.image.as_deref(), &kinds)?;
    let kernel = machine.kernel.as_deref().map(|kernel| built.find("kernel", Some(kernel), &[])).transpose()?;
    let firmware = match start.firmware {
        Some(file) => Some(named(file)?),
        None if machine.uefi => Some(firmware(machine.arch, &built.deploy, host)?),
        None => None,
    };
    let (accelerator, warnings) = accelerator(machine, host, start.emulate);
    let command = CommandLine { machine, accelerator, image: &image, kernel: kernel.as_deref(), firmware: &firmware };
    let arguments = command.arguments()?.into_iter().chain(start.extra.iter().cloned()).collect();
    Ok(Launch {
        program: format!("qemu-system-{}", machine.arch.name()),
        package: model(machine.arch).package,
        arguments,
        image,
        firmware,
        accelerator,
        warnings,
    })
}

fn named(file: &Path) -> Result<PathBuf> {
    if file.is_file() {
        return std::path::absolute(file).map_err(|error| Error::io("find", file, error));
    }
    Err(Error::input(format!("there is no firmware at {}", file.display())))
}

/// The artifacts of a build.
struct Built<'a> {
    board: &'a str,
    deploy: PathBuf,
    /// `None` where nothing was built.
    artifacts: Option<Vec<Artifact>>,
}

impl Built<'_> {
    fn read(self, result: &Path, unbuilt: bool) -> Result<Self> {
        if result.is_file() {
            return Ok(Built { artifacts: Some(BuildResult::read(result)?.artifacts), ..self });
        }
        if unbuilt {
            return Ok(self);
        }
        Err(self.not_built(&format!("there is no {}", disk::shown(result))))
    }

    fn not_built(&self, why: &str) -> Error {
        let error = Error::input(format!("the board `{}` is not built: {why}", self.board));
        error.help(format!("run `kbuild build --board {}` first", self.board))
    }

    /// The artifact that a pattern names, or the only one of the first kind that exists.
    fn find(&self, what: &str, pattern: Option<&str>, kinds: &[&str]) -> Result<PathBuf> {
        let Some(artifacts) = &self.artifacts else { return self.would_be(what, pattern) };
        let found = match pattern {
            Some(pattern) => matching(artifacts, pattern)?,
            None => {
                kinds.iter().map(|kind| of_kind(artifacts, kind)).find(|found| !found.is_empty()).unwrap_or_default()
            }
        };
        let name = match without_links(&found).as_slice() {
            [one] => one.path.as_str(),
            [] => return Err(self.nothing_fits(what, pattern, artifacts)),
            several => return Err(self.several_fit(what, several)),
        };
        if let Some(suffix) = COMPRESSED.iter().find(|suffix| name.ends_with(*suffix)).filter(|_| what == "image") {
            return Err(Error::input(format!("QEMU cannot start from the compressed image {name}")).help(format!(
                "let IMAGE_FSTYPES of the board have a form without `{suffix}` too, such as wic.qcow2"
            )));
        }
        let file = self.deploy.join(name);
        if file.is_file() {
            Ok(file)
        } else {
            Err(self.not_built(&format!("{name} is gone from its deploy directory")))
        }
    }

    fn would_be(&self, what: &str, pattern: Option<&str>) -> Result<PathBuf> {
        match pattern {
            Some(name) if !name.contains('*') => Ok(self.deploy.join(name)),
            _ => Err(self.not_built(&format!("{MANIFEST} does not name its {what}, only a build can tell"))),
        }
    }

    fn nothing_fits(&self, what: &str, pattern: Option<&str>, artifacts: &[Artifact]) -> Error {
        let wanted = pattern.map_or_else(|| what.to_owned(), |pattern| format!("{what} `{pattern}`"));
        let names: Vec<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).take(LISTED).collect();
        let more =
            if artifacts.len() > LISTED { format!(" and {} more", artifacts.len() - LISTED) } else { String::new() };
        let error = Error::input(format!("the build of board `{}` deployed no {wanted}", self.board));
        match names.as_slice() {
            [] => error.help(format!("it deployed nothing: run `kbuild build --board {}`", self.board)),
            _ => error.help(format!(
                "it deployed {}{more}; name one as `{what}` in [boards.{}.run]",
                names.join(", "),
                self.board
            )),
        }
    }

    fn several_fit(&self, what: &str, several: &[&Artifact]) -> Error {
        let names: Vec<&str> = several.iter().map(|artifact| artifact.path.as_str()).collect();
        Error::input(format!("the build of board `{}` deployed more than one {what}: {}", self.board, names.join(", ")))
            .help(format!("name one as `{what}` in [boards.{}.run] of {MANIFEST}", self.board))
    }
}

fn matching<'a>(artifacts: &'a [Artifact], pattern: &str) -> Result<Vec<&'a Artifact>> {
    let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
    let pattern = Regex::new(&format!("^(?:{})$", parts.join(".*")))
        .map_err(|error| Error::bug("an escaped pattern does not compile").because(error))?;
    Ok(artifacts.iter().filter(|artifact| pattern.is_match(&artifact.path)).collect())
}

/// Firmware has the forms of disks too (oe-core's `ovmf.qcow2`).
fn of_kind<'a>(artifacts: &'a [Artifact], kind: &str) -> Vec<&'a Artifact> {
    artifacts.iter().filter(|artifact| artifact.path.ends_with(kind) && !artifact.path.starts_with("ovmf.")).collect()
}

/// A link and its target count as one image.
fn without_links<'a>(found: &[&'a Artifact]) -> Vec<&'a Artifact> {
    let leads = |artifact: &Artifact| match &artifact.content {
        ArtifactContent::Link { link } => found.iter().any(|other| other.path == *link),
        ArtifactContent::File { .. } => false,
    };
    found.iter().copied().filter(|artifact| !leads(artifact)).collect()
}

/// UEFI firmware from the build, or else from the host.
fn firmware(arch: Arch, deploy: &Path, host: &QemuHost) -> Result<PathBuf> {
    let Model { deployed, installed, firmware: package, .. } = model(arch);
    let deployed = deployed.iter().map(|name| deploy.join(name));
    let installed = installed.iter().map(|name| host.share.join(name));
    deployed.chain(installed).find(|file| file.is_file()).ok_or_else(|| {
        Error::input(format!("there is no UEFI firmware for {} here", arch.name()))
            .because("neither the build deployed one, nor is one where distributions install it")
            .help(format!("run `sudo apt-get install {package}`, or name one with `--firmware FILE`"))
    })
}

/// The accelerator, and warnings about it.
fn accelerator(machine: &Machine, host: &QemuHost, emulate: bool) -> (&'static str, Vec<String>) {
    let arch = machine.arch.name();
    let why = match host.kvm {
        _ if emulate => "so it was asked for".to_owned(),
        _ if host.arch != arch => format!("this host is {}, the board {arch}", host.arch),
        Kvm::Usable => return ("kvm", nested_warning(machine, host).into_iter().collect()),
        Kvm::Denied => "/dev/kvm is not for you (join the group `kvm`: `sudo usermod -aG kvm $USER`)".to_owned(),
        Kvm::Absent => "there is no /dev/kvm here".to_owned(),
    };
    let nested = if machine.nested { "; virtual machines inside it will not start, or hardly" } else { "" };
    ("tcg", vec![format!("the board is emulated, which is slow: {why}{nested}")])
}

fn nested_warning(machine: &Machine, host: &QemuHost) -> Option<String> {
    let loss = "virtual machines inside the board will not start";
    match host.nested {
        _ if !machine.nested => None,
        Nested::On => None,
        Nested::Off(module) => Some(format!(
            "this host's {module} has nested virtualization off, so {loss}: with no virtual machine running, \
             `sudo modprobe -r {module} && sudo modprobe {module} nested=1`"
        )),
        Nested::Unknown => {
            Some(format!("this host does not say that it nests virtual machines; if it does not, {loss}"))
        }
    }
}

/// The parts of the command line.
struct CommandLine<'a> {
    machine: &'a Machine,
    accelerator: &'a str,
    image: &'a Path,
    kernel: Option<&'a Path>,
    firmware: &'a Option<PathBuf>,
}

impl CommandLine<'_> {
    fn arguments(&self) -> Result<Vec<String>> {
        let Machine { memory, cpus, append, ports, .. } = self.machine;
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-machine", self.machine_type());
        add("-cpu", if self.accelerator == "kvm" { "host" } else { "max" }.to_owned());
        add("-smp", cpus.to_string());
        add("-m", memory.to_string());
        if let Some(firmware) = self.firmware {
            let (format, file) = (format(firmware), value(firmware)?);
            add("-drive", format!("if=pflash,format={format},readonly=on,file={file}"));
        }
        if let Some(kernel) = self.kernel {
            add("-kernel", utf8(kernel)?.to_owned());
        }
        if let Some(append) = append {
            add("-append", append.clone());
        }
        let (format, file) = (format(self.image), value(self.image)?);
        add("-drive", format!("if=virtio,format={format},snapshot=on,file={file}"));
        add("-device", "virtio-rng-pci".to_owned());
        add("-netdev", ports.iter().fold("user,id=n0".to_owned(), |text, port| text + &forward(port)));
        add("-device", "virtio-net-pci,netdev=n0".to_owned());
        arguments.push("-nographic".to_owned());
        Ok(arguments)
    }

    fn machine_type(&self) -> String {
        let own = model(self.machine.arch).machine;
        let further = match (self.machine.arch, self.accelerator, self.machine.nested) {
            // Without it, QEMU shows an ARM guest no hypervisor mode.
            (Arch::Aarch64, _, true) => ",virtualization=on",
            _ => "",
        };
        let gic =
            if (self.machine.arch, self.accelerator) == (Arch::Aarch64, "kvm") { ",gic-version=host" } else { "" };
        format!("{own},accel={}{further}{gic}", self.accelerator)
    }
}

fn forward(port: &Port) -> String {
    let Port { address, host, guest, udp } = port;
    format!(",hostfwd={}:{address}:{host}-:{guest}", if *udp { "udp" } else { "tcp" })
}

/// The image's format by QEMU's name. It is given because QEMU warns where it has to guess.
fn format(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("qcow2") => "qcow2",
        Some("vmdk") => "vmdk",
        Some("vdi") => "vdi",
        Some("vhdx") => "vhdx",
        _ => "raw",
    }
}

/// A path as the value of an option in a list separated by commas: a comma of its own is doubled (QEMU's manual,
/// "-drive").
fn value(path: &Path) -> Result<String> {
    utf8(path).map(|text| text.replace(',', ",,"))
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::input(format!("{} is not UTF-8", path.display())))
}

impl Launch {
    /// The command, quoted for a shell.
    pub fn shell(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments).map(|word| quoted(word));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Where QEMU's program is.
    ///
    /// # Errors
    /// Kind `Input` where it is not installed, with the package that has it.
    pub fn find_program(&self, host: &QemuHost) -> Result<PathBuf> {
        which::which_in(&self.program, Some(&host.path), "/").map_err(|_| {
            Error::input(format!("there is no {} on the PATH", self.program))
                .help(format!("run `sudo apt-get install {}`", self.package))
        })
    }

    /// Runs it to its end. It shares this process's standard input and error; `stdout` says where its console goes. It
    /// is stopped when the future is dropped.
    ///
    /// # Errors
    /// Kind `Emulator` when QEMU fails.
    pub async fn start(&self, program: &Path, stdout: Stdio) -> Result<()> {
        let mut command = std::process::Command::new(program);
        crate::git::ends_with_kbuild(&mut command);
        let mut command = tokio::process::Command::from(command);
        let child = command.args(&self.arguments).stdout(stdout).spawn();
        let mut child = child.map_err(|error| Error::io("start", program, error))?;
        let stop = QemuGuard(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let status = child.wait().await.map_err(|error| Error::io("wait for", program, error))?;
        stop.not_needed();
        if status.success() {
            return Ok(());
        }
        Err(Error::new(Kind::Emulator, format!("{} failed ({status})", self.program)).help(match self.accelerator {
            "kvm" => "what it says is above; `--emulate` does without KVM, `--dry-run` shows how it is called",
            _ => "what it says is above; `--dry-run` shows how it is called",
        }))
    }
}

/// Ends a process when it is dropped; by SIGTERM, so that QEMU gives the terminal back as it was.
struct QemuGuard(Option<Pid>);

impl QemuGuard {
    fn not_needed(mut self) {
        self.0 = None;
    }
}

impl Drop for QemuGuard {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
