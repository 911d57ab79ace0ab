//! Containers: images without a digest, and scripts that are told to run in one.

use super::{Reach, Variables, program_name, resolve};
use crate::kind::Rule;

/// Variables by which many build scripts are told to run in a container.
const SWITCHES: [&str; 4] = ["USE_DOCKER", "USE_PODMAN", "USE_CONTAINER", "USE_CONTAINERS"];

/// `export USE_DOCKER=true`, `USE_DOCKER=1 ./build.sh`, `make USE_DOCKER=yes`: a script will run a container.
pub(crate) fn switch(words: &[String], environment: &[(String, String)]) -> Option<Reach> {
    let on = |name: &str, value: &str| {
        SWITCHES.contains(&name) && matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "y")
    };
    let takes_variables = words.first().is_some_and(|first| {
        ["export", "env", "make", "oe_runmake", "local", "declare"].contains(&program_name(first).as_str())
    });
    let words = words.iter().skip(1).filter(|_| takes_variables).filter_map(|word| word.split_once('='));
    let mut pairs = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(words);
    let (name, value) = pairs.find(|(name, value)| on(name, value))?;
    Some(Reach { kind: Rule::ContainerCommand, what: format!("{name}={value}") })
}

/// A container image that is named without a digest. One that only a variable names is not known.
pub(crate) fn floating(words: &[String], variables: &Variables) -> Option<Reach> {
    let (first, rest) = words.split_first()?;
    let args: Vec<String> = rest.iter().map(|word| resolve(word, variables)).collect();
    let image = match program_name(first).as_str() {
        "docker" | "podman" | "nerdctl" | "buildah" => image_operand(&args)?,
        "skopeo" => args.iter().find_map(|arg| arg.strip_prefix("docker://"))?,
        _ => return None,
    };
    let unknown = image.contains(['$', '%']) || image.starts_with(['.', '/']);
    (!unknown && !image.contains("@sha256:")).then(|| Reach { kind: Rule::FloatingImage, what: image.to_owned() })
}

/// The image of `run`, `create`, `pull` and `from`: the first word that is no option, nor the value of one.
fn image_operand(args: &[String]) -> Option<&str> {
    const WITHOUT_VALUE: &str =
        " --rm -i -t -it -ti -d -dt --detach --interactive --tty --privileged --init -q --quiet --read-only ";
    let start = args.iter().position(|arg| ["run", "create", "pull", "from"].contains(&arg.as_str()))?;
    let mut rest = args[start + 1..].iter();
    while let Some(arg) = rest.next() {
        if !arg.starts_with('-') {
            return Some(arg);
        }
        // `--pull=never` holds its value.
        if !WITHOUT_VALUE.contains(&format!(" {arg} ")) && !arg.contains('=') {
            rest.next();
        }
    }
    None
}
