//! Python code: programs it runs, network modules it calls, BitBake's fetcher where it fetches something else than SRC_URI.

use std::collections::{BTreeMap, HashMap};

use tree_sitter::Node;

use super::kind::Rule;
use super::programs::{Reach, Variables};
use super::tree::{self, children};
use super::wrappers::{self, ReachedLine};

/// How far values are followed: through so many operators and calls, a name counting for many.
const REACH: usize = 64;
const NAME: usize = 24;

/// Values of one name that are kept.
const MOST: usize = 32;

/// What stands in a string for something that is only known when it runs.
const UNKNOWN: &str = "$unknown";

/// Words without which none of the calls below can be there.
const HINTS: [&str; 19] = [
    "subprocess",
    "os.",
    "process",
    "Popen",
    "runfetchcmd",
    "getstatusoutput",
    "getoutput",
    "check_",
    "urlopen",
    "urlretrieve",
    "urllib",
    "requests",
    "http",
    "ftplib",
    "socket",
    "Fetch(",
    "VarFlag",
    "AUTOREV",
    "paramiko",
];

/// Functions that run a command which they are given, and which of their arguments that is.
pub(super) type Helpers = BTreeMap<String, usize>;

/// All of a body that reaches the network: of a function as BitBake has it, indented.
pub(super) fn body(text: &str, helpers: &Helpers) -> Vec<ReachedLine> {
    const DEF: &str = "def f(d):\n";
    let found = walked(&format!("{DEF}{text}\n"), &Variables::new(), helpers);
    found.into_iter().map(|found| ReachedLine { line: found.line.saturating_sub(1), ..found }).collect()
}

/// The same of a module or an expression. `variables` are those of the environment.
pub(super) fn script(text: &str, variables: &Variables) -> Vec<ReachedLine> {
    walked(text, variables, &Helpers::new())
}

fn walked(text: &str, variables: &Variables, helpers: &Helpers) -> Vec<ReachedLine> {
    let hints = || HINTS.into_iter().chain(helpers.keys().map(String::as_str));
    if !hints().any(|hint| text.contains(hint)) || is_too_deep(text) {
        return Vec::new();
    }
    let Some(tree) = tree::parse(tree_sitter_python::LANGUAGE, text) else { return Vec::new() };
    let mut walk = PythonWalk { text, variables, helpers, names: HashMap::new(), found: Vec::new() };
    walk.all(tree.root_node());
    walk.found
}

/// The name of a function that runs one of its parameters as a command (`def run(d, cmd): subprocess.check_call(cmd)`), and
/// which one.
pub(super) fn helper(definition: &str) -> Option<(String, usize)> {
    if !definition.starts_with("def ") || !HINTS.iter().any(|hint| definition.contains(hint)) || is_too_deep(definition)
    {
        return None;
    }
    let tree = tree::parse(tree_sitter_python::LANGUAGE, definition)?;
    let function = children(tree.root_node()).into_iter().find(|node| node.kind() == "function_definition")?;
    let (variables, helpers) = (Variables::new(), Helpers::new());
    let walk = PythonWalk {
        text: definition,
        variables: &variables,
        helpers: &helpers,
        names: HashMap::new(),
        found: Vec::new(),
    };
    let parameters = children(function.child_by_field_name("parameters")?);
    let given = |call: Node<'_>| {
        walk.called(call).filter(|name| runs_programs(name) || walk.is_subprocess(name))?;
        let command = walk.command(&walk.arguments(call)).map(|command| walk.of(command))?;
        // `cmd`, `cmd: str` and `cmd=None` alike.
        let named = |parameter: &Node<'_>| walk.of(*parameter).split([':', '=']).next().map(str::trim) == Some(command);
        parameters.iter().position(named)
    };
    let at = descendants(function).filter(|node| node.kind() == "call").find_map(given)?;
    Some((walk.of(function.child_by_field_name("name")?).to_owned(), at))
}

/// Nesting that no recipe has; the walk over it is recursive, and a stack is not endless.
fn is_too_deep(text: &str) -> bool {
    const DEEPEST: usize = 200;
    let mut depth = 0usize;
    text.bytes().any(|byte| {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST
    })
}

/// Values that a task's flags are set to from code: `d.setVarFlag('do_x', 'network', '1')`; the task, the flag, the value.
pub(super) fn flags(text: &str) -> Vec<(String, String, String, usize)> {
    const DEF: &str = "def f(d):\n";
    if !text.contains("VarFlag") || is_too_deep(text) {
        return Vec::new();
    }
    let whole = format!("{DEF}{text}\n");
    let Some(tree) = tree::parse(tree_sitter_python::LANGUAGE, &whole) else { return Vec::new() };
    let none = Variables::new();
    let helpers = Helpers::new();
    let walk =
        PythonWalk { text: &whole, variables: &none, helpers: &helpers, names: HashMap::new(), found: Vec::new() };
    let mut found = Vec::new();
    for call in descendants(tree.root_node()).filter(|node| node.kind() == "call") {
        let name = walk.called(call).unwrap_or_default();
        if !["setVarFlag", "appendVarFlag", "prependVarFlag"].iter().any(|setter| name.ends_with(setter)) {
            continue;
        }
        let arguments = walk.arguments(call);
        let literals: Vec<Option<String>> = arguments.iter().map(|node| walk.literal(*node)).collect();
        if let [Some(task), Some(flag), Some(value), ..] = literals.as_slice() {
            found.push((task.clone(), flag.clone(), value.clone(), call.start_position().row.saturating_sub(1)));
        }
    }
    found
}

struct PythonWalk<'a, 'tree> {
    text: &'a str,
    variables: &'a Variables,
    helpers: &'a Helpers,
    /// What a name was last set to, and added to since.
    names: HashMap<&'a str, Vec<Node<'tree>>>,
    found: Vec<ReachedLine>,
}

impl<'a, 'tree> PythonWalk<'a, 'tree> {
    fn all(&mut self, root: Node<'tree>) {
        for node in descendants(root) {
            match node.kind() {
                "assignment" => self.remember(node, false),
                "augmented_assignment" => self.remember(node, true),
                "call" => self.call(node),
                _ => {}
            }
        }
    }

    fn remember(&mut self, node: Node<'tree>, more: bool) {
        let (Some(left), Some(right)) = (node.child_by_field_name("left"), node.child_by_field_name("right")) else {
            return;
        };
        if left.kind() != "identifier" {
            return;
        }
        let values = self.names.entry(self.of(left)).or_default();
        if !more {
            values.clear();
        }
        if values.len() < MOST {
            values.push(right);
        }
    }

    fn call(&mut self, call: Node<'tree>) {
        let Some(name) = self.called(call) else { return };
        let arguments = self.arguments(call);
        if let Some(what) = network_module(&name) {
            self.add(Rule::PythonNetwork, what, call);
        } else if name.ends_with(".connect") && self.connects(&arguments) {
            self.add(Rule::PythonNetwork, "socket.connect", call);
        } else if name.ends_with(".getVar") && self.returns_autorev(call, &arguments) {
            self.add(Rule::Autorev, "${AUTOREV}", call);
        } else if runs_programs(&name) || self.is_subprocess(&name) {
            if let Some(argument) = self.command(&arguments) {
                self.runs(argument, call);
            }
        } else if let Some(argument) = self.helpers.get(&name).and_then(|at| arguments.get(*at)) {
            self.runs(*argument, call);
        } else if let Some(object) = name.strip_suffix(".download").or_else(|| name.strip_suffix(".checkstatus")) {
            self.fetcher(object, call);
        } else if let Some(list) = name.strip_suffix(".append").or_else(|| name.strip_suffix(".extend")) {
            if let Some(values) = self.names.get_mut(list) {
                let room = MOST.saturating_sub(values.len());
                values.extend(arguments.into_iter().take(room));
            }
        } else if name.ends_with(".setVar") || name.ends_with(".appendVar") {
            let floats =
                |node: &Node<'tree>| self.of(*node).contains("${AUTOREV}") || self.of(*node).contains("get_autorev");
            if arguments.iter().any(floats) {
                self.add(Rule::Autorev, "${AUTOREV}", call);
            }
        }
    }

    fn runs(&mut self, command: Node<'tree>, call: Node<'tree>) {
        let line = call.start_position().row;
        let reached = self.run(command);
        self.found.extend(reached.into_iter().map(|found| ReachedLine { line, ..found }));
    }

    fn add(&mut self, kind: Rule, what: &str, call: Node<'tree>) {
        self.found.push(ReachedLine { reach: Reach { kind, what: what.to_owned() }, line: call.start_position().row });
    }

    /// A socket that is given host and port, where a path would be of this machine.
    fn connects(&self, arguments: &[Node<'tree>]) -> bool {
        arguments.first().is_some_and(|first| first.kind() == "tuple") && self.text.contains("socket.socket")
    }

    /// `return d.getVar("AUTOREV")`, alone or as a branch of an expression: the function gives a revision that floats.
    fn returns_autorev(&self, call: Node<'tree>, arguments: &[Node<'tree>]) -> bool {
        let is_autorev = arguments.first().and_then(|name| self.literal(*name)).is_some_and(|name| name == "AUTOREV");
        let mut around = call.parent();
        while let Some(node) = around.filter(|node| is_part_of_a_value(node.kind())) {
            around = node.parent();
        }
        is_autorev && around.is_some_and(|node| node.kind() == "return_statement")
    }

    /// A function of subprocess under the name that an import gives it.
    fn is_subprocess(&self, name: &str) -> bool {
        let (module, function) = name.rsplit_once('.').unwrap_or(("", name));
        let imported = match module {
            "" => self.text.contains("from subprocess import"),
            module => self.text.contains(&format!("subprocess as {module}")),
        };
        imported && matches!(function, "run" | "call")
    }

    /// The command among a call's arguments: a list where there is one (`os.execvp("git", ["git", "clone"])`), else the first.
    fn command(&self, arguments: &[Node<'tree>]) -> Option<Node<'tree>> {
        let list = arguments.iter().take(3).find(|node| matches!(node.kind(), "list" | "tuple"));
        list.or_else(|| arguments.first()).copied()
    }

    /// What a program that Python runs reaches: a command line, or a list of words.
    fn run(&self, argument: Node<'tree>) -> Vec<ReachedLine> {
        if let Some(words) = self.list(argument, REACH) {
            return wrappers::words(&words, self.variables);
        }
        self.string(argument, REACH).map(|line| wrappers::script(&line, self.variables)).unwrap_or_default()
    }

    /// `Fetch(urls, d).download()`, unless the URLs are those of SRC_URI.
    fn fetcher(&mut self, object: &str, call: Node<'tree>) {
        let made = match self.names.get(object) {
            Some(values) => values.clone(),
            None => vec![call],
        };
        let is_fetch = made.iter().any(|node| self.of(*node).contains("Fetch("));
        let of_src_uri = made.iter().any(|node| self.leads_to_src_uri(*node, 4));
        if is_fetch && !of_src_uri {
            self.add(Rule::FetcherCall, "bb.fetch2.Fetch", call);
        }
    }

    fn leads_to_src_uri(&self, node: Node<'tree>, depth: usize) -> bool {
        if self.of(node).contains("SRC_URI") {
            return true;
        }
        let names = descendants(node).filter(|node| depth > 0 && node.kind() == "identifier");
        let mut values = names.flat_map(|name| self.names.get(self.of(name)).into_iter().flatten().copied());
        values.any(|value| self.leads_to_src_uri(value, depth - 1))
    }

    /// `a.b.c` of `a.b.c(…)`; of `f().g(…)`, `f().g` with what `f` is given.
    fn called(&self, call: Node<'tree>) -> Option<String> {
        call.child_by_field_name("function").map(|function| self.of(function).to_owned())
    }

    fn arguments(&self, call: Node<'tree>) -> Vec<Node<'tree>> {
        let list = call.child_by_field_name("arguments").map(children).unwrap_or_default();
        let plain = |node: Node<'tree>| match node.kind() {
            "comment" => None,
            "keyword_argument" => {
                let name = node.child_by_field_name("name").map(|name| self.of(name))?;
                matches!(name, "args" | "cmd" | "command").then(|| node.child_by_field_name("value")).flatten()
            }
            _ => Some(node),
        };
        list.into_iter().filter_map(plain).collect()
    }

    /// A string that is known as it stands.
    fn literal(&self, node: Node<'tree>) -> Option<String> {
        self.string(node, REACH).filter(|text| !text.contains(UNKNOWN))
    }

    fn string(&self, node: Node<'tree>, depth: usize) -> Option<String> {
        let inner = depth.checked_sub(1)?;
        match node.kind() {
            "string" => Some(self.plain(node)),
            "concatenated_string" => Some(children(node).into_iter().map(|part| self.plain(part)).collect()),
            "parenthesized_expression" => self.string(*children(node).first()?, inner),
            "identifier" => {
                let (values, inner) = (self.names.get(self.of(node))?, inner.checked_sub(NAME)?);
                let parts: Option<Vec<String>> = values.iter().map(|value| self.string(*value, inner)).collect();
                parts.map(|parts| parts.concat())
            }
            "binary_operator" => {
                let operator = node.child_by_field_name("operator").map(|operator| self.of(operator))?;
                let left = self.string(node.child_by_field_name("left")?, inner);
                let right = || node.child_by_field_name("right").and_then(|right| self.string(right, inner));
                match operator {
                    "%" => left,
                    "+" => match (left, right()) {
                        (None, None) => None,
                        (left, right) => {
                            Some(left.unwrap_or_else(|| UNKNOWN.into()) + &right.unwrap_or_else(|| UNKNOWN.into()))
                        }
                    },
                    _ => None,
                }
            }
            "call" => self.string_of_call(node, inner),
            _ => None,
        }
    }

    /// `"…".format(…)`, `" ".join([…])`, `d.expand("…")`, `shlex.split("…")`.
    fn string_of_call(&self, call: Node<'tree>, depth: usize) -> Option<String> {
        let function = call.child_by_field_name("function")?;
        let method = function.child_by_field_name("attribute").map(|name| self.of(name))?;
        let arguments = self.arguments(call);
        match method {
            "format" | "strip" => self.string(function.child_by_field_name("object")?, depth),
            "join" if self.called(call)?.ends_with("path.join") => self.string(*arguments.last()?, depth),
            "join" => Some(self.list(*arguments.first()?, depth)?.join(" ")),
            "expand" | "split" if !arguments.is_empty() => self.string(arguments[0], depth),
            "split" => self.string(function.child_by_field_name("object")?, depth),
            _ => None,
        }
    }

    /// A list of words; those that are not known stand for themselves as [`UNKNOWN`].
    fn list(&self, node: Node<'tree>, depth: usize) -> Option<Vec<String>> {
        let inner = depth.checked_sub(1)?;
        match node.kind() {
            "list" | "tuple" => {
                let word = |node: Node<'tree>| self.string(node, inner).unwrap_or_else(|| UNKNOWN.into());
                Some(children(node).into_iter().filter(|child| child.kind() != "comment").map(word).collect())
            }
            "identifier" => {
                let (values, inner) = (self.names.get(self.of(node))?, inner.checked_sub(NAME)?);
                let mut words = self.list(*values.first()?, inner)?;
                for more in &values[1..] {
                    let word = || vec![self.string(*more, inner).unwrap_or_else(|| UNKNOWN.into())];
                    words.extend(self.list(*more, inner).unwrap_or_else(word));
                }
                Some(words)
            }
            "binary_operator" => {
                let mut words = self.list(node.child_by_field_name("left")?, inner)?;
                let right = node.child_by_field_name("right").and_then(|right| self.list(right, inner));
                words.extend(right.unwrap_or_else(|| vec![UNKNOWN.into()]));
                Some(words)
            }
            _ => None,
        }
    }

    /// A string literal's content; what an f-string puts in is not known.
    fn plain(&self, string: Node<'tree>) -> String {
        let mut plain = String::new();
        for part in children(string) {
            match part.kind() {
                "string_content" => {
                    plain.push_str(&self.of(part).replace("\\n", "\n").replace("\\\"", "\"").replace("\\'", "'"))
                }
                "interpolation" => plain.push_str(UNKNOWN),
                _ => {}
            }
        }
        plain
    }

    fn of(&self, node: Node<'tree>) -> &'a str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }
}

/// A node and all below it, in the order of the text. Not recursive: a chain of operators nests as deep as it is long.
fn descendants(root: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    let mut stack = vec![root];
    std::iter::from_fn(move || {
        let node = stack.pop()?;
        stack.extend(children(node).into_iter().rev());
        Some(node)
    })
}

/// Calls that run a program, given as the first argument.
fn is_part_of_a_value(kind: &str) -> bool {
    matches!(kind, "conditional_expression" | "boolean_operator" | "parenthesized_expression")
}

fn runs_programs(name: &str) -> bool {
    let (module, function) = name.rsplit_once('.').unwrap_or(("", name));
    let module = module.rsplit('.').next().unwrap_or(module);
    match function {
        "check_call" | "check_output" | "Popen" | "getoutput" | "getstatusoutput" | "runfetchcmd" | "exec_cmd"
        | "exec_native_cmd" => true,
        "run" | "call" => matches!(module, "subprocess" | "process"),
        "system" | "popen" | "execv" | "execve" | "execvp" | "execvpe" | "execlp" | "posix_spawn" | "posix_spawnp"
        | "spawnv" | "spawnvp" => module == "os",
        _ => false,
    }
}

/// Calls of Python's network modules.
fn network_module(name: &str) -> Option<&'static str> {
    const BY_END: [(&str, &str); 16] = [
        ("urlopen", "urlopen"),
        ("urlretrieve", "urlretrieve"),
        ("urllib.request.build_opener", "urllib.request"),
        ("urllib.request.Request", "urllib.request"),
        ("HTTPConnection", "http.client"),
        ("HTTPSConnection", "http.client"),
        ("ftplib.FTP", "ftplib"),
        ("ftplib.FTP_TLS", "ftplib"),
        ("socket.create_connection", "socket"),
        ("socket.getaddrinfo", "socket"),
        ("socket.gethostbyname", "socket"),
        ("smtplib.SMTP", "smtplib"),
        ("paramiko.SSHClient", "paramiko"),
        ("Repo.clone_from", "git.Repo"),
        ("client.ServerProxy", "xmlrpc"),
        ("httpx.get", "httpx"),
    ];
    if let Some(method) = name.strip_prefix("requests.") {
        let known = ["get", "post", "put", "head", "patch", "delete", "request", "Session", "session"];
        return known.contains(&method).then_some("requests");
    }
    let ends = |end: &str| name == end || name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
    BY_END.iter().find(|(end, _)| ends(end)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Rule, String)> {
        body(text, &Helpers::new()).into_iter().map(|found| (found.reach.kind, found.reach.what)).collect()
    }

    fn finds(line: &str, kind: Rule, what: &str) {
        assert_eq!(found(&format!("    import x\n    {line}\n")), [(kind, what.to_owned())], "{line}");
    }

    fn fine(line: &str) {
        assert_eq!(found(&format!("    import x\n    {line}\n")), [], "{line}");
    }

    #[test]
    fn programs_that_are_run() {
        for line in [
            "subprocess.check_output(['git', 'clone', url])",
            "subprocess.run('git clone https://a.example/b', shell=True)",
            "os.system('cd x && git clone %s' % url)",
            "bb.process.run(f'git clone {url} x')",
            "bb.fetch2.runfetchcmd(d.expand('git clone https://a.example/${PN}'), d)",
            "runfetchcmd('git clone {}'.format(url), d, quiet=True)",
            "subprocess.Popen(args=['git', '-C', wd] + ['clone', url])",
            "subprocess.call(' '.join(['git', 'clone', url]), shell=True)",
            "subprocess.check_call('git clone '\n        'https://a.example/b', shell=True)",
            "cmd = 'git clone '\n    cmd += url + ' x'\n    os.popen(cmd)",
            "cmd = ['git']\n    cmd.append('clone')\n    cmd.extend([url])\n    subprocess.run(cmd)",
            "git = os.path.join(d.getVar('B'), 'git')\n    subprocess.run([git, 'clone', url])",
            "subprocess.run(['sh', '-c', 'true; git clone https://a.example/b'])",
        ] {
            finds(line, Rule::VcsCommand, "git clone");
        }
        for line in [
            "from subprocess import run; run(['git', 'clone', url])",
            "import subprocess as sp; sp.call(['git', 'clone', url])",
            "os.execvp('git', ['git', 'clone', url])",
        ] {
            finds(line, Rule::VcsCommand, "git clone");
        }
        finds("cmd = ['curl', '-O', u]\n    subprocess.run(cmd)", Rule::DownloadCommand, "curl");
    }

    #[test]
    fn network_modules() {
        finds("urllib.request.urlopen(url)", Rule::PythonNetwork, "urlopen");
        finds("from urllib.request import urlretrieve; urlretrieve(u, f)", Rule::PythonNetwork, "urlretrieve");
        finds("r = requests.get(u)", Rule::PythonNetwork, "requests");
        finds("c = http.client.HTTPSConnection('a.example')", Rule::PythonNetwork, "http.client");
        finds("ftplib.FTP('a.example')", Rule::PythonNetwork, "ftplib");
        finds("s = socket.socket(); s.connect(('a.example', 80))", Rule::PythonNetwork, "socket.connect");
        fine("s = socket.socket(socket.AF_UNIX); s.connect(path)");
        fine("urllib.parse.urlparse(uri)");
        fine("d.getVar('requests.get')");
    }

    #[test]
    fn a_revision_that_a_function_gives() {
        finds("return d.getVar('AUTOREV')", Rule::Autorev, "${AUTOREV}");
        finds("return 'a' if x else (d.getVar('AUTOREV') or 'b')", Rule::Autorev, "${AUTOREV}");
        fine("return d.getVar('SRCREV') == d.getVar('AUTOREV')");
        fine("x = d.getVar('AUTOREV')");
    }

    #[test]
    fn what_is_only_said() {
        fine("bb.note('git clone https://a.example/b')");
        fine("# subprocess.run('git clone https://a.example/b')");
        fine("\"\"\"os.system('curl x')\"\"\"");
        fine("subprocess.run(['git', 'describe'])");
        fine("subprocess.run('git rev-parse HEAD', shell=True)");
        fine("env.run('npm install x')");
    }

    #[test]
    fn bitbakes_fetcher() {
        fine("uri = (d.getVar('SRC_URI') or '').split()\n    f = bb.fetch2.Fetch(uri, d)\n    f.download()");
        finds(
            "f = bb.fetch2.Fetch(['https://a.example/b'], d)\n    f.download()",
            Rule::FetcherCall,
            "bb.fetch2.Fetch",
        );
        fine("x.download()");
    }

    #[test]
    fn functions_that_run_what_they_are_given() {
        let expected = Some(("run".to_owned(), 1));
        assert_eq!(helper("def run(d, cmd, where):\n    subprocess.check_call(cmd, cwd=where)\n"), expected);
        assert_eq!(helper("def run(d, cmd: str = ''):\n    (code, said) = getstatusoutput(cmd)\n"), expected);
        assert_eq!(helper("def run(d, cmd):\n    bb.note(cmd)\n    os.system('true')\n"), None);
        let helpers = Helpers::from([("run".to_owned(), 1)]);
        assert_eq!(body("    run(d, 'git clone https://a.example/b', x)\n", &helpers).len(), 1);
        assert_eq!(body("    other(d, 'git clone https://a.example/b')\n    run(d, 'git status')\n", &helpers), []);
    }

    #[test]
    fn flags_set_from_code() {
        let text = "    d.setVarFlag('do_x', 'network', '1')\n    d.appendVarFlag(task, 'network', '1')\n";
        let found = flags(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.as_str(), found[0].3), ("do_x", 0));
    }

    #[test]
    fn revisions_set_from_code() {
        finds("d.setVar('SRCREV', '${AUTOREV}')", Rule::Autorev, "${AUTOREV}");
    }

    #[test]
    fn nesting_without_end_is_passed_over() {
        for (open, close) in [
            ("[", "]"),
            ("f(", ")"),
            ("(", ")"),
            ("{1:", "}"),
            ("not ", ""),
            ("lambda: ", ""),
            ("a.", "b"),
            ("1+", "1"),
        ] {
            for count in [150, 5000] {
                let text = format!("    os.system({}{})\n", open.repeat(count), close.repeat(count));
                let _ = body(&text, &Helpers::new());
            }
        }
    }

    #[test]
    fn broken_code_is_passed_over() {
        for text in ["  subprocess.run(", "    os.system('", "subprocess", "    é = os.system(f'{'"] {
            let _ = body(text, &Helpers::new());
            let _ = helper(text);
        }
    }
}
