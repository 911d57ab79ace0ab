//! The types of `kbuild.toml` and of a site configuration as serde reads them: every key, nothing checked yet.
//!
//! All keys are optional here, so that a missing key is reported together with all other faults, at its block.
//! Editors show the documentation of each key, through the JSON Schema.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer};
use serde_spanned::Spanned;

/// A value of the text, with its byte range.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A string of the text.
pub(super) type RawText = At<String>;

impl<T> At<T> {
    /// Another value for the same place.
    pub(super) fn with<U>(&self, value: U) -> At<U> {
        At { value, span: self.span.clone() }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

// As a key of a map, only the value counts, not its place.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: Hash> Hash for At<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(At { span: spanned.span(), value: spanned.into_inner() })
    }
}

/// In the schema, only the value counts.
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The whole of kbuild.toml.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "kbuild.toml", extend("required" = ["project"]))]
pub(super) struct RawManifest {
    /// Files that count as part of this one: of the project, relative to its directory, or of a layer. What they say comes first.
    include: Option<Vec<RawInclude>>,
    /// The project itself.
    project: RawProject,
    /// BitBake layers, by a name that boards refer to.
    layers: IndexMap<String, RawLayer>,
    /// Sources that recipes take from the lock.
    sources: IndexMap<String, RawSource>,
    /// Typed choices of a build, set with `kbuild build --set`.
    options: IndexMap<String, RawOption>,
    /// Parts of a build that boards, options and the command line add, by name.
    fragments: IndexMap<String, RawFragment>,
    /// BitBake variables of all boards.
    config: IndexMap<String, String>,
    /// Variables of the environment for all boards.
    env: IndexMap<String, RawEnv>,
    /// What can be built.
    boards: IndexMap<String, RawBoard>,
    /// What is locked besides layers and declared sources.
    closure: RawClosure,
    /// URLs of package registries, for recipes that name registry, name and version: `go`, `npm`, or the host of
    /// `crate://HOST/…`.
    registries: IndexMap<String, String>,
    /// Where sources are looked for before and after their upstream.
    mirrors: RawMirrors,
    /// Where BitBake's shared state is kept and looked for.
    cache: RawCache,
    /// What `kbuild audit` lets pass.
    audit: RawAudit,
}

/// A file that a manifest includes.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum RawInclude {
    /// One of the project.
    File(String),
    /// One of a layer that is a repository, as it is locked.
    #[schemars(extend("additionalProperties" = false))]
    OfLayer {
        /// The layer, which the project's own files declare.
        layer: String,
        /// The path in it.
        file: String,
    },
}

/// `[audit]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawAudit {
    /// Findings that are allowed, in layers that are somebody else's.
    pub(super) allow: Option<Vec<At<RawAllow>>>,
}

/// `[[audit.allow]]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
// Only for the schema, as for `RawRule`.
#[schemars(deny_unknown_fields, extend("required" = ["rule", "why"]))]
pub(super) struct RawAllow {
    /// The kind of finding, as `kbuild audit` names it.
    pub(super) rule: Option<RawText>,
    /// Only in this layer: its collection or folder.
    pub(super) layer: Option<RawText>,
    /// Only of this recipe, class or file.
    pub(super) recipe: Option<RawText>,
    /// The reason.
    pub(super) why: Option<RawText>,
}

/// `[project]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("required" = ["name"]))]
pub(super) struct RawProject {
    /// The project's name.
    pub(super) name: Option<RawText>,
    /// The layer that contains BitBake, at its top or in `bitbake` (default: the layer called `bitbake`).
    pub(super) engine: Option<RawText>,
    /// Configuration of all boards in BitBake's own language, read behind `[config]`.
    pub(super) conf: Option<RawText>,
}

/// `[layers.NAME]`: a git repository (`git` and at least one of `branch`, `tag`, `rev`) or a folder (`path`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("oneOf" = [{"required": ["git"]}, {"required": ["path"]}]))]
pub(super) struct RawLayer {
    /// URL of the git repository.
    pub(super) git: Option<RawText>,
    /// The branch to follow; with `tag` or `rev`: the branch that contains them.
    pub(super) branch: Option<RawText>,
    /// The tag to lock.
    pub(super) tag: Option<RawText>,
    /// The commit to lock, all 40 digits.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{40}$"))]
    pub(super) rev: Option<RawText>,
    /// A folder, relative to kbuild.toml: of this project (`layers/meta-own`, `.`), or beside it (`../meta-own`).
    pub(super) path: Option<RawText>,
    /// Whether objects of Git LFS are locked and written out (default: true).
    pub(super) lfs: Option<At<bool>>,
    /// The BitBake layer directories inside it (default: the top directory).
    pub(super) paths: Option<At<Vec<RawText>>>,
    /// Who may sign the commit, or the tag that is asked for: public keys of ssh, and files of the project with more of them or
    /// with keys of OpenPGP. Without a good signature of one of them the commit is refused.
    pub(super) signers: Option<At<Vec<At<RawSigner>>>>,
    /// Patches that the layer is laid out with, in this order: a file of the project, or a directory with a `series`, as quilt
    /// has it; a file of another layer; or a file that is fetched.
    pub(super) patches: Option<At<Vec<At<RawPatch>>>>,
}

/// `[sources.NAME]`: a file (`url`), a git commit (`git` and at least one of `branch`, `tag`, `rev`) or an image (`oci`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("oneOf" = [{"required": ["url"]}, {"required": ["git"]}, {"required": ["oci"]}]))]
pub(super) struct RawSource {
    /// URL of the file; `{version}` is filled in.
    pub(super) url: Option<RawText>,
    /// Further URLs of the same bytes; `{version}` is filled in.
    pub(super) mirrors: Option<At<Vec<RawText>>>,
    /// The SHA-256 that the file must have.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub(super) sha256: Option<RawText>,
    /// The name under which BitBake looks for the file, if the URL does not end with it; `{version}` is filled in.
    pub(super) filename: Option<RawText>,
    /// URL of the git repository.
    pub(super) git: Option<RawText>,
    /// The branch to follow; with `tag` or `rev`: the branch that contains them. `{version}` is filled in.
    pub(super) branch: Option<RawText>,
    /// The tag to lock; `{version}` is filled in.
    pub(super) tag: Option<RawText>,
    /// The commit to lock, all 40 digits.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{40}$"))]
    pub(super) rev: Option<RawText>,
    /// A container image, as docker names it: `[HOST/]NAME[:TAG][@sha256:…]`; `{version}` is filled in.
    pub(super) oci: Option<RawText>,
    /// The architectures of the image to lock, as BitBake's TARGET_ARCH writes them (default: those of `aarch64` and
    /// `x86_64` that the image has).
    pub(super) architectures: Option<At<Vec<RawText>>>,
    /// The digest (`sha256:…`) that the image's index or manifest must have.
    #[schemars(regex(pattern = "^sha256:[0-9A-Fa-f]{64}$"))]
    pub(super) digest: Option<RawText>,
    /// Whether submodules are locked too.
    pub(super) submodules: Option<At<bool>>,
    /// Whether the whole history is kept, for recipes that run `git describe` or count commits.
    pub(super) history: Option<At<bool>>,
    /// Whether objects of Git LFS are locked too (default: true; else BitBake gets `lfs=0`).
    pub(super) lfs: Option<At<bool>>,
    /// The version, for the templates and for recipes.
    pub(super) version: Option<RawText>,
    /// Recipes of any layer whose SRCREV this source sets.
    pub(super) recipes: Option<At<Vec<RawText>>>,
    /// The `;name=` that the URL has in these recipes.
    pub(super) srcrev_name: Option<RawText>,
    /// The boards that need it (default: all).
    pub(super) boards: Option<At<Vec<RawText>>>,
}

/// `[options.NAME]`: a flag (`flag`) or a choice (`choices` and `default`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("oneOf" = [{"required": ["flag"]}, {"required": ["choices", "default"]}]))]
pub(super) struct RawOption {
    /// The OVERRIDES word of a flag, which is off by default.
    pub(super) flag: Option<RawText>,
    /// Each choice with its OVERRIDES word (empty: none).
    pub(super) choices: Option<IndexMap<RawText, RawText>>,
    /// The default choice.
    pub(super) default: Option<RawText>,
    /// The boards that can have it (default: all).
    pub(super) boards: Option<At<Vec<RawText>>>,
    /// What the flag can't be combined with: `FLAG` or `OPTION=CHOICE`.
    pub(super) conflicts: Option<At<Vec<RawText>>>,
    /// What the flag needs set: `FLAG` or `OPTION=CHOICE`.
    pub(super) requires: Option<At<Vec<RawText>>>,
    /// The fragments that it adds: of a flag a list, of a choice a table of choice and list.
    pub(super) fragments: Option<RawAdds>,
    /// Choices that cannot be used, with the reason.
    pub(super) refused: Option<Vec<At<RawRefusal>>>,
}

/// `[[options.NAME.refused]]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
// Only for the schema, as for `RawRule`.
#[schemars(deny_unknown_fields, extend("required" = ["choices", "why"]))]
pub(super) struct RawRefusal {
    /// The choices that are refused.
    pub(super) choices: Option<At<Vec<RawText>>>,
    /// The boards that they are refused for (default: all).
    pub(super) boards: Option<At<Vec<RawText>>>,
    /// The reason, which the error message shows.
    pub(super) why: Option<RawText>,
}

/// `[boards.NAME]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawBoard {
    /// BitBake's MACHINE.
    pub(super) machine: Option<RawText>,
    /// Layers in the order of BBLAYERS; the engine is implied.
    pub(super) layers: Option<At<Vec<RawText>>>,
    /// What is built if the command line names no target.
    pub(super) targets: Option<At<Vec<RawText>>>,
    /// The fragments that it is made of: its own keys win, their layers and targets are appended.
    pub(super) fragments: Option<At<Vec<RawText>>>,
    /// Another board that this one is a variant of: own keys win, layers and targets are appended.
    pub(super) extends: Option<RawText>,
    /// Option settings of this board: a choice, or true or false for a flag.
    pub(super) set: Option<IndexMap<RawText, At<SetTo>>>,
    /// BitBake variables of this board.
    pub(super) config: Option<IndexMap<RawText, RawText>>,
    /// Configuration of this board in BitBake's own language, read behind `config`.
    pub(super) conf: Option<RawText>,
    /// Variables that BitBake has from its environment.
    pub(super) env: Option<IndexMap<RawText, At<RawEnv>>>,
    /// Files and directories of the host that the board's builds see beside what every build sees.
    pub(super) mounts: Option<Vec<At<RawMount>>>,
    /// The machine that `kbuild run` starts the board's image in.
    pub(super) run: Option<At<RawRun>>,
}

/// `[fragments.NAME]`: a part of a build.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawFragment {
    /// Layers, behind those of the board.
    pub(super) layers: Option<At<Vec<RawText>>>,
    /// Targets, behind those of the board.
    pub(super) targets: Option<At<Vec<RawText>>>,
    /// BitBake variables.
    pub(super) config: Option<IndexMap<RawText, RawText>>,
    /// Configuration in BitBake's own language, read behind `config`.
    pub(super) conf: Option<RawText>,
    /// Variables that BitBake has from its environment.
    pub(super) env: Option<IndexMap<RawText, At<RawEnv>>>,
    /// Fragments that it cannot be combined with.
    pub(super) conflicts: Option<At<Vec<RawText>>>,
    /// Fragments that have to be there too.
    pub(super) requires: Option<At<Vec<RawText>>>,
}

/// The keys that boards and fragments have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawParts<'a> {
    pub(super) layers: Option<&'a At<Vec<RawText>>>,
    pub(super) targets: Option<&'a At<Vec<RawText>>>,
    pub(super) config: Option<&'a IndexMap<RawText, RawText>>,
    pub(super) conf: Option<&'a RawText>,
    pub(super) env: Option<&'a IndexMap<RawText, At<RawEnv>>>,
}

impl RawBoard {
    pub(super) fn parts(&self) -> RawParts<'_> {
        let RawBoard { layers, targets, config, conf, env, .. } = self;
        RawParts {
            layers: layers.as_ref(),
            targets: targets.as_ref(),
            config: config.as_ref(),
            conf: conf.as_ref(),
            env: env.as_ref(),
        }
    }
}

impl RawFragment {
    pub(super) fn parts(&self) -> RawParts<'_> {
        let RawFragment { layers, targets, config, conf, env, .. } = self;
        RawParts {
            layers: layers.as_ref(),
            targets: targets.as_ref(),
            config: config.as_ref(),
            conf: conf.as_ref(),
            env: env.as_ref(),
        }
    }
}

/// `[[boards.NAME.mounts]]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
// Only to the schema, as for `RawRule`.
#[schemars(deny_unknown_fields, extend("required" = ["path"]))]
pub(super) struct RawMount {
    /// The file or directory, absolute or relative to the manifest; it has the same path inside.
    pub(super) path: Option<RawText>,
    /// Whether builds may write there (default: false).
    pub(super) write: Option<bool>,
}

/// `[boards.NAME.run]`: a machine of QEMU's.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
// Only for the schema, as for `RawRule`.
#[schemars(deny_unknown_fields)]
pub(super) struct RawRun {
    /// Its architecture, as in the name of QEMU's program (`qemu-system-ARCH`).
    #[schemars(extend("enum" = ["aarch64", "riscv64", "x86_64"]))]
    pub(super) arch: Option<RawText>,
    /// The file of the board's deploy directory to start from, with `*` for any characters (default: the only file there
    /// whose name is that of a disk image).
    pub(super) image: Option<RawText>,
    /// `uefi` (default: the machine's own firmware).
    #[schemars(extend("enum" = ["uefi"]))]
    pub(super) firmware: Option<RawText>,
    /// A kernel of the deploy directory that QEMU starts itself, for images that contain only a root file system.
    pub(super) kernel: Option<RawText>,
    /// The command line of that kernel.
    pub(super) append: Option<RawText>,
    /// Memory in MiB (default: 1024).
    #[schemars(range(min = 1))]
    pub(super) memory: Option<At<u32>>,
    /// Number of processors (default: 2).
    #[schemars(range(min = 1, max = 512))]
    pub(super) cpus: Option<At<u32>>,
    /// Whether virtual machines can run inside it.
    pub(super) nested: Option<At<bool>>,
    /// Ports of the host that are forwarded to ports of the board: `HOST:GUEST` or `ADDRESS:HOST:GUEST`, followed by `/udp`
    /// if it is not TCP. Without an address, only the host itself can connect.
    pub(super) ports: Option<At<Vec<RawText>>>,
}

/// The value of an option in `set`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(super) enum SetTo {
    /// A flag, on or off.
    Flag(bool),
    /// A choice.
    Choice(String),
}

/// The value of a variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(super) enum RawEnv {
    /// This text.
    Set(String),
    /// What the caller of kbuild has.
    Forward {
        /// Always true.
        forward: bool,
        /// The value where the caller has none (default: it is not set).
        default: Option<String>,
    },
}

/// Who may sign a layer's commits.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum RawSigner {
    /// A public key of ssh: `ssh-ed25519 AAAA…`.
    Key(String),
    /// A file of the project in the format of git's `gpg.ssh.allowedSignersFile`.
    #[schemars(rename_all = "kebab-case", extend("additionalProperties" = false))]
    Allowed {
        /// The file, relative to kbuild.toml.
        allowed_signers: RawText,
    },
    /// Keys of OpenPGP.
    #[schemars(extend("additionalProperties" = false))]
    Keyring {
        /// A file of the project with public keys, as `gpg --export` writes it; relative to kbuild.toml.
        keyring: RawText,
        /// The fingerprints of the keys in it that count.
        fingerprints: Vec<RawText>,
    },
}

/// A patch of a layer.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum RawPatch {
    /// A file of the project, or a directory with a series; relative to kbuild.toml.
    File(String),
    /// One from elsewhere.
    Table(RawPatchTable),
}

/// A patch of a layer, as a table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPatchTable {
    /// The layer that it comes from.
    pub(super) layer: Option<RawText>,
    /// The path in that layer; without `layer` in the project.
    pub(super) file: Option<RawText>,
    /// Where it is fetched from.
    pub(super) url: Option<RawText>,
    /// The SHA-256 of what is fetched.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub(super) sha256: Option<RawText>,
    /// How many leading directories of the names in it are left out (default: 1).
    pub(super) strip: Option<u32>,
}

/// The fragments of an option.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(super) enum RawAdds {
    /// Those of a flag that is on.
    Flag(Vec<RawText>),
    /// Those of each choice.
    Choice(IndexMap<RawText, Vec<RawText>>),
}

/// `[closure]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawClosure {
    /// Which closures are locked: `none`, `defaults` (each board with its options' defaults), `choices` (also each other
    /// choice of each option; the default), or `pairs` (also each two choices of two options together).
    #[schemars(extend("enum" = ["none", "defaults", "choices", "pairs"]))]
    pub(super) lock: Option<RawText>,
    /// Groups of settings (`OPTION=CHOICE`, `FLAG`) that are looked at together, since they may need what none of them needs
    /// alone.
    pub(super) together: Option<At<Vec<At<Vec<RawText>>>>>,
    /// Fragments that `--with` may add to a board: its closure with each of them is locked too.
    pub(super) with: Option<At<Vec<RawText>>>,
    /// Architectures of the build hosts, as `uname -m` writes them (default: `x86_64`).
    pub(super) hosts: Option<At<Vec<RawText>>>,
    /// Recipes, or expressions for whole URLs, whose git sources are kept with their whole history.
    pub(super) history: Option<Vec<RawText>>,
    /// Recipes whose tag need not point to the commit that they name.
    pub(super) moved_tags: Option<Vec<RawText>>,
    /// Recipes that are left out (BBMASK), each with the reason for it.
    pub(super) mask: Option<IndexMap<RawText, RawText>>,
}

/// `[mirrors]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawMirrors {
    /// Other stores: a directory, an http URL, a bucket (`s3://`, `gs://`, `az://`) or a registry (`oci://`) each,
    /// asked first.
    pub(super) stores: Option<Vec<RawText>>,
    /// Whether the fallback lists shipped with kbuild are asked after the upstream (default: true), or the names of those
    /// that are.
    pub(super) builtin: Option<RawBuiltin>,
    /// Domains that are internal: the fallback lists are not asked for what is fetched from them.
    pub(super) internal: Option<Vec<RawText>>,
    /// Domains that are public although that cannot be seen here: the fallback lists may be told names of their files.
    pub(super) public: Option<Vec<RawText>>,
    /// Rewriting rules, asked before the upstream.
    pub(super) rule: Option<Vec<At<RawRule>>>,
    /// Rewriting rules, asked when the upstream fails, before the fallback lists.
    pub(super) fallback: Option<Vec<At<RawRule>>>,
}

/// `[[mirrors.rule]]` and `[[mirrors.fallback]]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
// Only for the schema: `document::check_keys` has a better message for unknown keys, and one fault is reported once.
#[schemars(deny_unknown_fields, extend("required" = ["match", "to"]))]
pub(super) struct RawRule {
    /// A regular expression that must match the whole URL.
    pub(super) r#match: Option<RawText>,
    /// What to ask instead, in order; `$1` and `${name}` are groups, `{name}` the file's name, `{sha256}` its hash.
    pub(super) to: Option<At<Vec<RawText>>>,
}

/// Which fallback lists are asked.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(super) enum RawBuiltin {
    /// All of them, or none.
    All(bool),
    /// Those with these names.
    Named(Vec<RawText>),
}

/// `[cache]`: what BitBake made already, on this machine and elsewhere.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawCache {
    /// The directory of shared state (BitBake's SSTATE_DIR), of this machine; a relative one is below the directory of this
    /// file (default: `build/sstate-cache`, for all boards of the project).
    pub(super) dir: Option<RawText>,
    /// Caches elsewhere that are asked for shared state, in order: `https://…`, `s3://…` (or `gs://`, `az://`), a directory.
    pub(super) pull: Option<Vec<RawText>>,
    /// The cache that `kbuild cache push` sends shared state to: `s3://…` (or `gs://`, `az://`), a directory.
    pub(super) push: Option<RawText>,
    /// A hash equivalence server of BitBake's, `HOST:PORT`: the upstream of the build's own.
    pub(super) hashserve: Option<RawText>,
    /// A PR server of BitBake's, `HOST:PORT`: the upstream of the build's own.
    pub(super) prserve: Option<RawText>,
}

/// A site configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSite {
    /// The store to use.
    pub(super) store: Option<RawText>,
    /// Lower stores, which are only read.
    pub(super) lower: Option<Vec<RawText>>,
    /// Mirrors that are asked before those of kbuild.toml.
    pub(super) mirrors: Option<RawMirrors>,
    /// Package registries that win over those of kbuild.toml.
    pub(super) registries: IndexMap<String, String>,
    /// Where shared state is kept and looked for; what stands here wins over kbuild.toml, and its caches are asked first.
    pub(super) cache: RawCache,
}

impl<'de> Deserialize<'de> for RawBuiltin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RawBuiltin;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false, or a list of names")
            }

            fn visit_bool<E>(self, on: bool) -> Result<RawBuiltin, E> {
                Ok(RawBuiltin::All(on))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<RawBuiltin, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(RawBuiltin::Named)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for RawEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RawEnv;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value in quotes, or { forward = true, default = \"…\" }")
            }

            fn visit_str<E>(self, value: &str) -> Result<RawEnv, E> {
                Ok(RawEnv::Set(value.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut keys: A) -> Result<RawEnv, A::Error> {
                let (mut forward, mut default) = (false, None);
                while let Some(key) = keys.next_key::<String>()? {
                    match key.as_str() {
                        "forward" => forward = keys.next_value()?,
                        "default" => default = Some(keys.next_value()?),
                        other => return Err(serde::de::Error::unknown_field(other, &["forward", "default"])),
                    }
                }
                Ok(RawEnv::Forward { forward, default })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for RawInclude {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RawInclude;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a file, or { layer = \"…\", file = \"…\" }")
            }

            fn visit_str<E>(self, file: &str) -> Result<RawInclude, E> {
                Ok(RawInclude::File(file.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<RawInclude, A::Error> {
                let table = IncludeTable::deserialize(MapAccessDeserializer::new(keys))?;
                Ok(RawInclude::OfLayer { layer: table.layer, file: table.file })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The keys of [`RawInclude`] as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IncludeTable {
    layer: String,
    file: String,
}

impl<'de> Deserialize<'de> for RawPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RawPatch;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a file, { layer = \"…\", file = \"…\" }, or { url = \"…\", sha256 = \"…\" }")
            }

            fn visit_str<E>(self, file: &str) -> Result<RawPatch, E> {
                Ok(RawPatch::File(file.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<RawPatch, A::Error> {
                RawPatchTable::deserialize(MapAccessDeserializer::new(keys)).map(RawPatch::Table)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for RawSigner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RawSigner;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a public key of ssh, { allowed-signers = \"…\" }, or { keyring = \"…\", fingerprints = [\"…\"] }",
                )
            }

            fn visit_str<E>(self, key: &str) -> Result<RawSigner, E> {
                Ok(RawSigner::Key(key.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<RawSigner, A::Error> {
                let table = SignerTable::deserialize(MapAccessDeserializer::new(keys))?;
                match (table.allowed_signers, table.keyring, table.fingerprints) {
                    (Some(allowed_signers), None, None) => Ok(RawSigner::Allowed { allowed_signers }),
                    (None, Some(keyring), Some(fingerprints)) => Ok(RawSigner::Keyring { keyring, fingerprints }),
                    _ => Err(serde::de::Error::custom("either `allowed-signers`, or `keyring` and `fingerprints`")),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The keys of [`RawSigner`] as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SignerTable {
    allowed_signers: Option<RawText>,
    keyring: Option<RawText>,
    fingerprints: Option<Vec<RawText>>,
}

impl<'de> Deserialize<'de> for RawAdds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = RawAdds;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of fragments, or a table of choices with a list for each")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<RawAdds, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(RawAdds::Flag)
            }

            fn visit_map<A: MapAccess<'de>>(self, choices: A) -> Result<RawAdds, A::Error> {
                IndexMap::deserialize(MapAccessDeserializer::new(choices)).map(RawAdds::Choice)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for SetTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = SetTo;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a choice in quotes, or true or false for a flag")
            }

            fn visit_bool<E>(self, on: bool) -> Result<SetTo, E> {
                Ok(SetTo::Flag(on))
            }

            fn visit_str<E>(self, choice: &str) -> Result<SetTo, E> {
                Ok(SetTo::Choice(choice.to_owned()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
