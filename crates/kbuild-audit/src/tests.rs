//! Whole audits of small layers.

use std::fs;
use std::path::Path;

use super::*;

const SHA: &str = "0123456789012345678901234567890123456789";

/// A layer of these files; findings as `file:line kind`, for the first file alone as `line kind`.
fn audit_of(files: &[(&str, &str)]) -> (Vec<String>, AuditReport) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("conf/layer.conf", "BBFILE_COLLECTIONS += \"test\"\n");
    for (name, text) in files {
        write(name, text);
    }
    let report = audit(find(&[directory.path().to_owned()]).unwrap()).unwrap();
    let shown = |finding: &Finding| {
        let file = finding.file.strip_prefix(directory.path()).unwrap();
        let file = if file == Path::new(files[0].0) { String::new() } else { format!("{}:", file.display()) };
        format!("{file}{} {}", finding.line, finding.kind.name())
    };
    (report.findings.iter().map(shown).collect(), report)
}

fn finds(files: &[(&str, &str)], expected: &[&str]) {
    let (found, report) = audit_of(files);
    assert_eq!(found, expected, "{files:#?}\n{:#?}", report.findings);
}

/// One recipe, `r_1.0.bb`.
fn recipe(text: &str, expected: &[&str]) {
    finds(&[("r/r_1.0.bb", text)], expected);
}

#[test]
fn what_a_finding_says() {
    let text = "do_install:append() {\n\tcurl https://user:secret@a.example/\u{1b}[31m\n}\n";
    let (_, report) = audit_of(&[("r/mine_1.0.bb", text)]);
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.kind, finding.line), (Rule::DownloadCommand, 2));
    assert_eq!(
        (finding.recipe.as_str(), finding.layer.as_str(), finding.place.as_str()),
        ("mine", "test", "do_install")
    );
    assert_eq!(finding.message, "do_install runs `curl`");
    assert!(!finding.excerpt.contains("secret") && !finding.excerpt.contains('\u{1b}'), "{}", finding.excerpt);
    assert_eq!((report.files, report.allowed), (2, 0));
}

#[test]
fn network_flags() {
    recipe("do_compile[network] = \"1\"\n", &["1 task-network"]);
    recipe("do_compile[network] ?= \"true\"\n", &["1 task-network"]);
    recipe("do_compile[network] = \"${@d.getVar('ONLINE')}\"\n", &["1 task-network"]);
    for fine in [
        "do_compile[network] = \"0\"",
        "do_testimage[network] = \"1\"",
        "do_package_setscene[network] = \"1\"",
        "CHOICES[network] = \"1\"",
    ] {
        recipe(fine, &[]);
    }
}

#[test]
fn fetching_of_its_own() {
    recipe("do_fetch() {\n    x\n}\n", &["1 own-fetch"]);
    recipe("do_fetch:prepend() {\n    x\n}\n", &["1 own-fetch"]);
    recipe("python do_fetch_append () {\n    x()\n}\n", &["1 own-fetch"]);
    recipe("do_fetch[postfuncs] += \"mine\"\n", &["1 own-fetch"]);
    recipe("do_fetch() {\n    :\n}\ndo_fetch[prefuncs] += \"write_srcrev\"\ndo_fetch_all() {\n    x\n}\n", &[]);
}

#[test]
fn revisions() {
    let git = "SRC_URI = \"git://a.example/b;branch=main\"\n";
    let with = |more: &str| format!("{git}{more}\n");
    recipe(git, &["1 floating-revision"]);
    recipe(&with("SRCREV = \"${AUTOREV}\""), &["2 autorev"]);
    recipe(&with("SRCREV = \"AUTOINC\""), &["2 autorev"]);
    recipe(&with("SRCREV = \"main\""), &["2 floating-revision"]);
    recipe(&with("SRCREV = \"0123abc\""), &["2 floating-revision"]);
    recipe(
        &with(&format!("SRCREV_other = \"{SHA}\"\nSRC_URI += \"git://a.example/c;name=c\"")),
        &["3 floating-revision"],
    );
    for pinned in [
        format!("SRCREV = \"{SHA}\""),
        format!("SRCREV:qemuall = \"{SHA}\""),
        format!("SRCREV_raspberrypi3 = \"{SHA}\""),
        format!("REV = \"{SHA}\"\nSRCREV = \"${{REV}}\""),
        "SRCREV = \"${SET_ELSEWHERE}\"".to_owned(),
        "python () {\n    d.setVar('SRCREV', rev)\n}".to_owned(),
        "SRCREV ?= \"INVALID\"".to_owned(),
    ] {
        recipe(&with(&pinned), &[]);
    }
    recipe("SRC_URI = \"git://a.example/b;tag=v1\"\n", &["1 floating-revision"]);
    recipe(&format!("SRC_URI = \"git://a.example/b;tag=v1\"\nSRCREV = \"{SHA}\"\n"), &[]);
    recipe(&format!("SRC_URI = \"git://a.example/b;tag={SHA}\"\n"), &[]);
    recipe(&format!("SRC_URI = \"git://a.example/b;rev={SHA}\"\n"), &[]);
    recipe("SRC_URI = \"git://a.example/b;rev=v1\"\n", &["1 floating-revision"]);
    recipe("SRC_URI = \"svn://a.example/b;module=c;rev=12\"\n", &[]);
    recipe("SRC_URI = \"svn://a.example/b;module=c\"\nSRCREV = \"12\"\n", &[]);
    recipe("SRC_URI = \"svn://a.example/b;module=c;rev=HEAD\"\n", &["1 floating-revision"]);
    recipe("SRC_URI = \"npm://a.example;package=b;version=latest\"\n", &["1 floating-revision"]);
    recipe("#SRCREV = \"${AUTOREV}\"\nX = \"AUTOREV\"\n", &[]);
}

#[test]
fn revisions_from_elsewhere() {
    let text = "SRC_URI = \"git://a.example/b\"\n";
    finds(&[("r/r_1.0.bb", text), ("conf/pins.conf", &format!("SRCREV:pn-r = \"{SHA}\"\n"))], &[]);
    finds(&[("r/r_1.0.bb", text), ("r/r_%.bbappend", &format!("SRCREV = \"{SHA}\"\n"))], &[]);
    finds(&[("r/r_1.0.bb", text), ("r/r_2.%.bbappend", &format!("SRCREV = \"{SHA}\"\n"))], &["1 floating-revision"]);
    finds(
        &[("r/r_1.0.bb", &format!("inherit pin\n{text}")), ("classes/pin.bbclass", &format!("SRCREV = \"{SHA}\"\n"))],
        &[],
    );
    recipe(&format!("require recipes-gone/gone.inc\n{text}"), &[]);
}

#[test]
fn checksums() {
    let file = "SRC_URI = \"https://a.example/b-${PV}.tgz\"\n";
    let with = |more: &str| format!("{file}{more}\n");
    recipe(file, &["1 no-checksum"]);
    recipe(&with("SRC_URI[md5sum] = \"0\""), &["1 weak-checksum"]);
    recipe(&with("SRC_URI[sha1sum] = \"0\""), &["1 weak-checksum"]);
    recipe(&with("SRC_URI[sha256sum] = \"\""), &["1 no-checksum"]);
    recipe(&with("SRC_URI[other.sha256sum] = \"0\""), &["1 no-checksum"]);
    recipe(&with("SRC_URI[md5sum] = \"0\"\nSRC_URI[sha256sum] = \"0\""), &[]);
    recipe(&with("SRC_URI = \"file://b\""), &[]);
    recipe(&with("python () {\n    d.setVarFlag('SRC_URI', 'sha256sum', x)\n}"), &[]);
    recipe("SRC_URI = \"https://a.example/b;sha256sum=0\"\n", &[]);
    recipe("SRC_URI = \"https://a.example/b;name=x\"\nSRC_URI[x.sha512sum] = \"0\"\n", &[]);
    recipe("SRC_URI = \"https://a.example/b;name=${NAME}\"\n", &[]);
    recipe("SRC_URI = \"${GNU_MIRROR}/b/b.tgz\"\n", &["1 no-checksum"]);
    recipe("SRC_URI = \"crate://crates.io/a-b/1.0\"\nSRC_URI[a-b-1.0.sha256sum] = \"0\"\n", &[]);
    recipe("SRC_URI = \"crate://crates.io/a-b/1.0\"\n", &["1 no-checksum"]);
    recipe("SRC_URI:remove = \"https://a.example/b\"\nSRC_URI_remove = \"https://a.example/b\"\n", &[]);
    recipe("A = \"https://a.example/b\"\nSRC_URI = \" \\\n  file://c \\\n  ${A} \\\n\"\n", &["1 no-checksum"]);
    recipe("SRC_URI = \" \\\n  file://c \\\n  https://a.example/b \\\n\"\n", &["3 no-checksum"]);
}

#[test]
fn checksums_from_elsewhere() {
    let text = "require r.inc\nSRC_URI[sha256sum] = \"0\"\n";
    finds(&[("r/r_1.0.bb", text), ("r/r.inc", "SRC_URI = \"https://a.example/b\"\n")], &[]);
    finds(&[("r/r.inc", "SRC_URI = \"https://a.example/b\"\n")], &[]);
    finds(&[("r/gone_1.bbappend", "SRC_URI += \"https://a.example/b\"\n")], &[]);
    finds(
        &[("r/gone_1.bbappend", "SRC_URI += \"https://a.example/b\"\nSRC_URI[md5sum] = \"0\"\n")],
        &["1 weak-checksum"],
    );
}

#[test]
fn urls_that_move() {
    let sum = "SRC_URI[sha256sum] = \"0\"\n";
    for (url, moves) in [
        ("https://raw.githubusercontent.com/a/b/master/c", true),
        ("https://raw.githubusercontent.com/a/b/v1.0/master", false),
        ("https://a.example/b/archive/refs/heads/next.zip", true),
        ("https://a.example/b/archive/main.tar.gz", true),
        ("https://a.example/b/archive/refs/tags/v1.zip", false),
        ("https://a.example/b/releases/latest/download/c", true),
        ("https://a.example/b/releases/download/v1/c", false),
        ("https://a.example/master/c.tar.gz", false),
        ("https://a.example/b/releases/raw/master/c-1.0.tar.gz", true),
    ] {
        let expected: &[&str] = if moves { &["1 moving-url"] } else { &[] };
        recipe(&format!("SRC_URI = \"{url}\"\n{sum}"), expected);
    }
}

#[test]
fn parameters_that_an_append_adds() {
    let url = "SRC_URI = \"https://a.example/${SOC}-1.bin\"\nSRC_URI:append = \";name=${SOC}\"\n";
    recipe(&format!("{url}SOC = \"one\"\nSRC_URI[one.sha256sum] = \"0\"\n"), &[]);
    recipe(&format!("{url}SOC = \"two\"\nSRC_URI[one.sha256sum] = \"0\"\n"), &["1 no-checksum"]);
    recipe(&format!("{url}SOC ?= \"INVALID\"\nSRC_URI[one.sha256sum] = \"0\"\n"), &[]);
}

#[test]
fn programs_that_a_class_names() {
    let class = ("classes/node.bbclass", "MY_NODE_PM ?= \"${STAGING_BINDIR_NATIVE}/npm\"\n");
    let calls = ("r/r_1.0.bb", "do_compile() {\n    ${MY_NODE_PM} ${MY_NODE_PM_FLAGS} install\n}\n");
    finds(&[calls, class], &["2 package-command"]);
    // Where it may be another program, nothing is said.
    finds(&[calls, class, ("conf/other.conf", "MY_NODE_PM = \"true\"\n")], &[]);
}

#[test]
fn a_helper_of_the_recipe_runs_the_command() {
    let helper = "def run(d, cmd):\n    import subprocess\n    subprocess.check_call(cmd, shell=True)\n\n";
    recipe(&format!("{helper}python do_x() {{\n    run(d, 'flutter pub get')\n}}\n"), &["6 package-command"]);
    recipe("python do_x() {\n    import os\n    run(d, 'flutter pub get')\n}\n", &[]);
}

#[test]
fn exceptions_hold_and_are_held_to_account() {
    let curl = "do_x() {\n    # kbuild-audit: allow download-command because of a test\n    curl u\n}\n";
    let (found, report) = audit_of(&[("r/r_1.0.bb", curl)]);
    assert_eq!((found.len(), report.allowed), (0, 1));
    recipe(&curl.replace(" because of a test", ""), &["2 allow-without-reason", "3 download-command"]);
    recipe(&curl.replace("download-command", "vcs-command"), &["2 allow-without-effect", "3 download-command"]);
    recipe(
        &curl.replace("allow download-command", "allow everything"),
        &["2 allow-without-effect", "3 download-command"],
    );
    recipe(&curl.replace("    curl", "    true\n    curl"), &["2 allow-without-effect", "4 download-command"]);
}

#[test]
fn scripts_of_packages() {
    recipe("pkg_postinst:${PN}() {\n    curl u\n}\n", &["2 download-command"]);
    recipe("pkg_postinst_${PN}() {\n    [ -n \"$D\" ] || curl u\n}\n", &[]);
    recipe("pkg_postinst_ontarget:${PN}() {\n    curl u\n}\n", &[]);
    recipe("pkg_prerm_${PN} () {\n    curl u\n}\n", &[]);
}

#[test]
fn text_that_is_not_utf_8_is_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("conf")).unwrap();
    fs::write(directory.path().join("conf/layer.conf"), "").unwrap();
    fs::write(directory.path().join("a.bb"), b"AUTHOR = \"Andr\xe9\"\ndo_x[network] = \"1\"\n").unwrap();
    let report = audit(find(&[directory.path().to_owned()]).unwrap()).unwrap();
    assert_eq!(report.findings.iter().map(|one| one.line).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_is_no_floating_revision_and_no_fetch() {
    let git = "SRC_URI = \"git://a.example/b;branch=main;protocol=https\"\n";
    let revision = format!("SRCREV = \"{SHA}\"\n");
    recipe(&format!("{git}{revision}SRCREV_FORMAT:class-target = \"a_b\"\n"), &[]);
    recipe("TABLE[git] = \"${AUTOREV}\"\n", &["1 autorev"]);
    recipe("def rev(d):\n    return d.getVar('AUTOREV')\n", &["2 autorev"]);
    let names = "SOC = \"INVALID\"\nSOC:one = \"one\"\nSRC_URI[one.sha256sum] = \"1\"\n";
    recipe(&format!("{names}SRC_URI = \"https://a.example/b-1.tar.gz;name=${{SOC}}\"\n"), &[]);
    let refuses = "do_fetch:prepend() {\n    if [ -z \"${KEY}\" ]; then\n        bbfatal \"no key\"\n    fi\n}\n";
    recipe(refuses, &[]);
    recipe("python do_fetch:prepend() {\n    if not d.getVar('KEY'):\n        bb.fatal('no key')\n}\n", &[]);
    recipe("do_fetch:prepend() {\n    bbnote x\n    get_it\n}\n", &["1 own-fetch"]);
    let check = "python check() {\n    key = d.getVar('KEY')\n    if not key:\n        bb.fatal('no key')\n}\n";
    recipe(&format!("do_fetch[prefuncs] += \"check\"\n{check}"), &[]);
    recipe("do_fetch[prefuncs] += \"check\"\ncheck() {\n    get_it\n}\n", &["1 own-fetch"]);
}

#[test]
fn a_template_is_no_recipe() {
    let conf = ("conf/layer.conf", "BBFILES += \"${LAYERDIR}/r/*.bb\"\n");
    let leak = "do_compile[network] = \"1\"\n";
    finds(&[("r/a.bb", leak), ("templates/b.bb", leak), conf], &["1 task-network"]);
    // Where a pattern is not known, everything counts.
    let conf = ("conf/layer.conf", "BBFILES += \"${LAYERDIR}/r/*.bb ${ELSEWHERE}/*.bb\"\n");
    finds(&[("r/a.bb", leak), ("templates/b.bb", leak), conf], &["1 task-network", "templates/b.bb:1 task-network"]);
}

#[test]
fn exceptions_pins_and_a_baseline_leave_findings_out() {
    let (_, mut report) = audit_of(&[("r/a_1.bb", "SRCREV = \"${AUTOREV}\"\ndo_compile[network] = \"1\"\n")]);
    let baseline = report.baseline();
    assert_eq!(baseline.findings.len(), 2);
    assert_eq!(report.leave_out_pinned(&["b".to_owned()].into()), 0);
    assert_eq!(report.leave_out_pinned(&["a".to_owned()].into()), 1);
    let allow =
        |layer: &str| Allow { rule: Rule::TaskNetwork, layer: Some(layer.to_owned()), recipe: Some("a".to_owned()) };
    assert_eq!(report.allow(&[allow("other"), allow("test")]), [0]);
    assert_eq!((report.findings.len(), report.allowed), (0, 1));
    // A line more above, and a second finding of one kind.
    let text = "A = \"1\"\nSRCREV = \"${AUTOREV}\"\ndo_compile[network] = \"1\"\ndo_install[network] = \"1\"\n";
    let (_, mut report) = audit_of(&[("r/a_1.bb", text)]);
    assert_eq!(report.leave_out_known(&baseline), (2, 0));
    assert_eq!(report.findings.len(), 1);
    let (_, mut report) = audit_of(&[("r/a_1.bb", "A = \"1\"\n")]);
    assert_eq!(report.leave_out_known(&baseline), (0, 2));
}
