//! Checks of `[boards.NAME.run]`, merged with what the board extends.

use std::net::Ipv4Addr;

use super::document::Diagnostics;
use super::names;
use super::raw::{At, RawBoard, RawRun, RawText};
use super::{Arch, Machine, Port};
use crate::error::{Error, Result};

const ARCHES: [Arch; 3] = [Arch::Aarch64, Arch::Riscv64, Arch::X86_64];

/// The defaults of a machine: enough for an image with a shell.
const MEMORY: u32 = 1024;
const CPUS: u32 = 2;

/// The limit of QEMU depends on its machine. A number above this one is a mistake.
const MOST_CPUS: u32 = 512;

/// Checks that need only the block's own keys, and not what the board extends.
pub(super) fn check_own(run: &RawRun, diagnostics: &mut Diagnostics) {
    diagnostics.take(run.arch.as_ref().map(arch).transpose());
    diagnostics.take(run.firmware.as_ref().map(firmware).transpose());
    for (what, file) in [("an image", &run.image), ("a kernel", &run.kernel)] {
        diagnostics.take(file.as_ref().map_or(Ok(()), |file| check_file(what, file)));
    }
    diagnostics.take(run.append.as_ref().map_or(Ok(()), check_append));
    diagnostics.take(run.memory.as_ref().map_or(Ok(()), |memory| check_number("memory", memory, u32::MAX)));
    diagnostics.take(run.cpus.as_ref().map_or(Ok(()), |cpus| check_number("cpus", cpus, MOST_CPUS)));
    let ports = run.ports.as_ref().map(|ports| ports.as_slice()).unwrap_or_default();
    for text in ports {
        diagnostics.take(port(text));
    }
    names::check_repeated("the machine", "port", ports, diagnostics);
}

/// The machine of a board, merged with all that it extends: own keys win. `None` if there is none, or it has a fault.
pub(super) fn fold(whose: &str, chain: &[&RawBoard], diagnostics: &mut Diagnostics) -> Option<Machine> {
    let runs: Vec<&At<RawRun>> = chain.iter().rev().filter_map(|raw| raw.run.as_ref()).collect();
    let nearest = runs.first()?;
    let own =
        |file: fn(&RawRun) -> Option<&RawText>| runs.iter().find_map(|run| file(run)).map(|text| text.value.clone());
    let Some(named) = runs.iter().find_map(|run| run.arch.as_ref()) else {
        let fault = Error::input(format!("the machine of {whose} has no `arch`"));
        diagnostics.add(fault.at(nearest.span.clone(), "`arch` is missing").help(one_of_arches()));
        return None;
    };
    let append = runs.iter().find_map(|run| run.append.as_ref());
    if let (Some(append), None) = (append, own(|run| run.kernel.as_ref())) {
        let fault = Error::input(format!("the machine of {whose} has a command line and no kernel"));
        let help = "name the `kernel` that it is for; a boot loader in the image has a command line of its own";
        diagnostics.add(fault.at(append.span.clone(), "whose?").help(help));
    }
    let ports = runs.iter().find_map(|run| run.ports.as_ref());
    Some(Machine {
        arch: arch(named).ok()?,
        image: own(|run| run.image.as_ref()),
        uefi: runs.iter().any(|run| run.firmware.is_some()),
        kernel: own(|run| run.kernel.as_ref()),
        append: append.map(|append| append.value.clone()),
        memory: runs.iter().find_map(|run| run.memory.as_ref()).map_or(MEMORY, |memory| memory.value),
        cpus: runs.iter().find_map(|run| run.cpus.as_ref()).map_or(CPUS, |cpus| cpus.value),
        nested: runs.iter().find_map(|run| run.nested.as_ref()).is_some_and(|nested| nested.value),
        ports: ports.map(|ports| ports.iter().filter_map(|text| port(text).ok()).collect()).unwrap_or_default(),
    })
}

fn arch(text: &RawText) -> Result<Arch> {
    ARCHES.into_iter().find(|arch| arch.name() == text.as_str()).ok_or_else(|| {
        Error::input(format!("`{}` is not an architecture that `kbuild run` knows", text.escape_debug()))
            .at(text.span.clone(), "here")
            .help(one_of_arches())
    })
}

fn one_of_arches() -> String {
    format!("write one of: {}", ARCHES.map(Arch::name).join(", "))
}

fn firmware(text: &RawText) -> Result<()> {
    if text.as_str() == "uefi" {
        return Ok(());
    }
    Err(Error::input(format!("`{}` is not a firmware", text.escape_debug()))
        .at(text.span.clone(), "here")
        .help("write `uefi` (OVMF or AAVMF), or remove the key to use the machine's own"))
}

/// The file is looked for in the deploy directory, so the name must not lead out of it.
fn check_file(what: &str, file: &RawText) -> Result<()> {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    if file.split('/').all(part) && !file.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::input(format!("`{}` cannot be {what} of the deploy directory", file.escape_debug()))
        .at(file.span.clone(), "this file")
        .help("give its name as result.json has it; `*` matches any characters"))
}

fn check_append(append: &RawText) -> Result<()> {
    if !append.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::input("a kernel's command line is one line").at(append.span.clone(), "it contains a control character"))
}

fn check_number(key: &str, number: &At<u32>, most: u32) -> Result<()> {
    if (1..=most).contains(&number.value) {
        return Ok(());
    }
    Err(Error::input(format!("`{key}` cannot be {}", number.value))
        .at(number.span.clone(), "here")
        .help(if key == "memory" { "memory is given in MiB: 4096".to_owned() } else { format!("1 to {most}") }))
}

/// `[ADDRESS:]HOST:GUEST[/tcp|/udp]`. Only the host itself can connect, unless there is an address: images for development
/// often have no password.
fn port(text: &RawText) -> Result<Port> {
    let wrong = || {
        Error::input(format!("`{}` forwards no port", text.escape_debug()))
            .at(text.span.clone(), "here")
            .help("write `HOST:GUEST`, `ADDRESS:HOST:GUEST` or `HOST:GUEST/udp`: \"22221:22\"")
    };
    let (place, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u16>().ok()).filter(|port| *port > 0);
    let mut parts = place.rsplitn(3, ':');
    let (guest, host) = (number(parts.next()), number(parts.next()));
    let address = parts.next().map_or(Some(Ipv4Addr::LOCALHOST), |address| address.parse().ok());
    match (address, host, guest, protocol) {
        (Some(address), Some(host), Some(guest), "tcp" | "udp") => {
            Ok(Port { address, host, guest, udp: protocol == "udp" })
        }
        _ => Err(wrong()),
    }
}
