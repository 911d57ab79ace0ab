use super::super::wrappers;
use super::*;

fn found(script: &str) -> Vec<(Rule, String)> {
    let found = wrappers::script(script, &Variables::new());
    found.into_iter().map(|found| (found.reach.kind, found.reach.what)).collect()
}

/// Each line is one finding of this kind.
fn all_are(kind: Rule, lines: &[&str]) {
    for line in lines {
        let found = found(line);
        assert!(matches!(found.as_slice(), [(one, _)] if *one == kind), "{line}: {found:?}");
    }
}

fn none(lines: &[&str]) {
    for line in lines {
        assert_eq!(found(line), [], "{line}");
    }
}

#[test]
fn downloads() {
    all_are(
        Rule::DownloadCommand,
        &[
            "curl -LO https://a.example/b",
            "wget https://a.example/b",
            "${FETCHCMD_wget} https://a.example/b",
            "${STAGING_BINDIR_NATIVE}/curl -o x $url",
            "curl https://a.example/b | tar xz",
            "x=$(curl -s https://a.example/b)",
            "aria2c https://a.example/b",
            "if ! wget -q https://a.example/b; then false; fi",
            "curl \\\n  https://a.example/b",
        ],
    );
    none(&[
        "echo curl https://a.example/b",
        "bbnote \"wget https://a.example/b\"",
        "# curl https://a.example/b",
        "curl --version",
        "command -v curl",
        "which wget",
        "install -m 0755 curl ${D}${bindir}",
        "CURL=curl oe_runmake",
        "curl http://localhost:8080/ready",
        "curl file:///tmp/x",
        "cat > run.sh <<EOF\ncurl https://a.example/b\nEOF",
        "rm -f ${D}/curl; ./curl-config --libs",
        "PACKAGES=\"curl wget\"",
    ]);
}

#[test]
fn downloads_that_are_run() {
    all_are(
        Rule::DownloadPipe,
        &[
            "curl https://a.example/i.sh | sh",
            "curl -L https://a.example/p | patch -p1",
            "wget -qO- https://a.example/i.sh | sudo bash -s -- -y",
            "bash <(curl https://a.example/i.sh)",
            "curl https://a.example/p.gz | gunzip | git am",
            "curl https://a.example/i.py | python3 -",
        ],
    );
    assert_eq!(found("sh -c \"$(curl https://a.example/i.sh)\"")[0].0, Rule::DownloadPipe);
    assert_eq!(found("eval \"$(curl https://a.example/i.sh)\"")[0].0, Rule::DownloadPipe);
}

#[test]
fn wrappers_are_looked_through() {
    all_are(
        Rule::DownloadCommand,
        &[
            "env -i A=b wget https://a.example/b",
            "sudo -u root wget https://a.example/b",
            "timeout -k 5 60 wget https://a.example/b",
            "cat list | xargs -n 1 wget",
            "sh -c 'cd x && wget https://a.example/b'",
            "bash -ec \"wget https://a.example/b\"",
            "nice -n 5 nohup wget https://a.example/b",
            "eval wget https://a.example/b",
            "bash <<EOF\nwget https://a.example/b\nEOF",
            "chroot ${D} wget https://a.example/b",
            "find . -name x -exec wget {} \\;",
            "FOO=bar wget https://a.example/b",
        ],
    );
    all_are(
        Rule::PythonNetwork,
        &["python3 -c 'import urllib.request; urllib.request.urlopen(\"https://a.example\")'"],
    );
    none(&["env A=b", "sudo -u wget true", "sh script.sh wget", "xargs echo wget"]);
}

#[test]
fn version_control() {
    all_are(
        Rule::VcsCommand,
        &[
            "git clone https://a.example/b",
            "git -C ${S} -c a=b submodule update --init --recursive",
            "git clone --depth 1 -b main git@a.example:b",
            "git clone $REPO x",
            "git fetch",
            "git fetch origin main",
            "git pull",
            "git remote update",
            "git ls-remote https://a.example/b",
            "git lfs pull",
            "svn co https://a.example/b",
            "svn export svn://a.example/b",
            "hg clone https://a.example/b",
            "repo sync -j4",
        ],
    );
    none(&[
        "git describe --tags",
        "git rev-parse HEAD",
        "git clone ${WORKDIR}/a b",
        "git clone -b x file:///a",
        "git clone --local a b",
        "D=${S}/.git; git clone $D b",
        "git fetch ${S} main",
        "git submodule status",
        "git submodule update --no-fetch",
        "git remote add origin https://a.example/b",
        "git init && git add . && git commit -m 'git clone https://a.example/b'",
        "git config --global url.https://a.example.insteadOf git://a.example",
        "svn info .",
        "hg log",
    ]);
}

#[test]
fn containers() {
    all_are(
        Rule::ContainerCommand,
        &[
            "docker run --rm -v ${S}:/s $IMAGE make",
            "docker --config x pull alpine@sha256:00",
            "podman build .",
            "docker image pull $IMAGE",
            "docker buildx build .",
            "buildah from ${IMAGE}",
            "skopeo copy docker://alpine@sha256:00 oci:x",
            "export USE_DOCKER=true; ./build.sh",
            "USE_PODMAN=1 ./build.sh",
            "oe_runmake USE_DOCKER=yes",
        ],
    );
    none(&[
        "docker load -i x.tar",
        "docker run --pull=never x",
        "skopeo copy oci:a oci:b",
        "oe_runmake docker",
        "docker ps",
        "export USE_DOCKER=false",
        "echo USE_DOCKER=1",
    ]);
    for line in [
        "docker run --rm -e A=b --name x -v ${S}:/s ubuntu bash",
        "podman pull docker.io/alpine:3.20",
        "skopeo copy docker://alpine oci:x",
    ] {
        assert_eq!(found(line).last().map(|(kind, _)| *kind), Some(Rule::FloatingImage), "{line}");
    }
}

#[test]
fn package_managers() {
    all_are(
        Rule::PackageCommand,
        &[
            "pip install requests",
            "pip3 install -r requirements.txt",
            "python3 -m pip install .",
            "${PYTHON} -m pip download x",
            "npm install",
            "npm --prefix x ci",
            "npx tsc",
            "yarn",
            "yarn install --frozen-lockfile",
            "pnpm i",
            "go get -u a.example/b",
            "go install a.example/b@latest",
            "go mod download",
            "GOFLAGS=-mod=vendor go mod tidy",
            "${GO} mod vendor",
            "cargo fetch",
            "cargo +nightly update",
            "cargo install cbindgen",
            "gem install x",
            "conan install .",
            "mvn package",
            "./gradlew build",
        ],
    );
    none(&[
        "pip install --no-index --find-links . x",
        "nativepython3 -m pip install --no-deps --no-build-isolation ./x.whl",
        "pip3 install --no-deps x.whl",
        "pip list",
        "npm ci --offline",
        "npm run install",
        "yarn --offline install",
        "go build ./...",
        "go install ./cmd/x",
        "GOFLAGS=-mod=vendor go get ./...",
        "GOPROXY=off go mod download",
        "export GOPROXY=file:///x; go mod download",
        "cargo build --release",
        "cargo fetch --offline",
        "cargo install --path . --root ${D}",
        "CARGO_NET_OFFLINE=true cargo install x",
        "gem install --local x.gem",
        "mvn -o package",
        "oe_runmake install",
        "install go get",
    ]);
}

#[test]
fn the_host_and_other_machines() {
    all_are(
        Rule::HostPackages,
        &[
            "apt-get install -y x",
            "sudo apt-get -y update",
            "dnf install x",
            "apk add x",
            "debootstrap sid x https://a.example",
        ],
    );
    all_are(
        Rule::RemoteCopy,
        &["rsync -a rsync://a.example/b .", "scp user@a.example:b .", "rsync -av a.example:b .", "ssh a.example true"],
    );
    none(&[
        "apt-get -o Dir=${D} install x",
        "dnf --installroot ${IMAGE_ROOTFS} install x",
        "rsync -a --chown=root:root ${S}/a ${B}/b:c",
        "scp ${WORKDIR}/a:b c",
        "ssh -V",
        "ssh-keygen -t ed25519",
    ]);
}

#[test]
fn variables_are_followed() {
    let around = Variables::from([("GOPROXY".to_owned(), "off".to_owned())]);
    assert_eq!(wrappers::script("go mod download", &around), []);
    assert_eq!(wrappers::script("go mod download", &Variables::new()).len(), 1);
    none(&["a=${S}; b=$a/x; git clone $b"]);
}

#[test]
fn programs_that_few_layers_run() {
    all_are(
        Rule::PackageCommand,
        &[
            "bazel build //a:b",
            "uv sync",
            "uv run a",
            "go run a.example/b@v1.2",
            "deno install",
            "zig fetch https://a.example/b.tar.gz",
            "conda install b",
            "micromamba create -n a b",
            "stack build",
            "sbt package",
            "rebar3 get-deps",
            "helm dependency update chart",
        ],
    );
    all_are(
        Rule::DownloadCommand,
        &[
            "aws s3 cp s3://a/b .",
            "gsutil cp gs://a/b .",
            "az storage blob download -n b",
            "hf download a/b",
            "nc a.example 80",
            "openssl s_client -connect a.example:443",
            "perl -MLWP::Simple -e 'getstore(q(https://a.example), q(b))'",
        ],
    );
    all_are(Rule::VcsCommand, &["gclient sync"]);
    all_are(Rule::ContainerCommand, &["regctl image export a.example/b@sha256:1 b.tar"]);
    none(&[
        "bazel build --nofetch //a:b",
        "bazel clean",
        "uv sync --offline",
        "uv build",
        "go run ./cmd/a",
        "deno run a.ts",
        "conda install --offline b",
        "aws --version",
        "nc -l 80",
        "openssl x509 -in a",
        "perl -e 'print 1'",
        "install -m 0755 nc ${D}${bindir}",
    ]);
}

#[test]
fn programs_and_words_that_variables_hold() {
    all_are(
        Rule::PackageCommand,
        &[
            "GO_TOOL=${STAGING_BINDIR_NATIVE}/go; ${GO_TOOL} mod download",
            "c=clean-install; npm $c --omit=dev",
            "c='npm ci'; $c",
            "o='--omit=dev install'; npm $o",
            "npm ${NPM_INSTALL_FLAGS} install",
            "flutter create a",
            "flutter update-packages",
        ],
    );
    none(&[
        "t=$(command -v go); $t mod verify",
        "c=run; npm $c install",
        "npm ${COMMAND} install",
        "m='curl https://a.example'; echo $m",
        "flutter create --offline a",
        "flutter clean",
    ]);
    let around = Variables::from([("MY_NODE_PM".to_owned(), "${STAGING_BINDIR_NATIVE}/npm".to_owned())]);
    assert_eq!(wrappers::script("${MY_NODE_PM} install", &around).len(), 1);
    assert_eq!(wrappers::script("${MY_NODE_PM} run build", &around), []);
}
