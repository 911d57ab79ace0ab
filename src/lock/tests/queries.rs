//! A lock read backwards.

use super::*;

/// Two boards; `loud` changes what busybox fetches on one of them; a submodule of a submodule that leads back.
fn lock() -> Lock {
    let (a, b, c) = (hex('a', 40), hex('b', 40), hex('c', 40));
    let (a12, b12, c12) = (hex('a', 12), hex('b', 12), hex('c', 12));
    let sum = hex('1', 64);
    let file = |name: &str| format!("[file.{name}]\nurls = [\"https://h.example/{name}\"]\nsha256 = \"{sum}\"\n");
    let git = |name: &str, id: &str, short: &str, child: &str| {
        let key = format!("git.example.{name}@{short}");
        let head = format!("[git.\"{key}\"]\nurl = \"https://git.example/{name}\"\nrefs = []\ncommit = \"{id}\"\n");
        if child.is_empty() { head } else { format!("{head}[git.\"{key}\".submodules]\nsub = \"{child}\"\n") }
    };
    let recipe = |key: &str, sources: &str| {
        format!(
            "[recipe.\"{key}\"]\nversion = \"1\"\nlayer = \"l\"\nfile = \"f\"\nlicense = \"MIT\"\nsources = [{sources}]\n"
        )
    };
    let text = [
        "version = 1\n".to_owned(),
        format!(
            "[layer.own]\ngit = \"https://git.example/own\"\nbranch = \"main\"\nlocked = \"git:git.example.own@{a12}\"\n"
        ),
        file("box"),
        file("patch"),
        file("extra"),
        git("own", &a, &a12, &format!("git.example.sub@{b12}")),
        git("sub", &b, &b12, &format!("git.example.deep@{c12}")),
        git("deep", &c, &c12, &format!("git.example.sub@{b12}")),
        recipe("busybox", "\"file:box\""),
        recipe("busybox@two+loud", "\"file:box\", \"file:patch\""),
        format!(
            "[board.one]\nsources = [\"git:git.example.own@{a12}\"]\ninputs = \"{sum}\"\nextra = [\"file:extra\"]\n"
        ),
        "[board.one.recipes]\nbusybox = \"group\"\ngroup = \"image\"\nimage = \"\"\n".to_owned(),
        format!("[board.two]\nsources = []\ninputs = \"{sum}\"\n"),
        "[board.two.recipes]\nbusybox = \"image\"\nimage = \"\"\n".to_owned(),
        format!("[board.two.with.loud]\ninputs = \"{sum}\"\n"),
        "[board.two.with.loud.recipes]\nbusybox = \"horn\"\nhorn = \"image\"\n".to_owned(),
    ];
    Lock::read_text_of(&text.join("\n"))
}

fn id(text: &str) -> SourceId {
    text.parse().unwrap()
}

const fn on<'a>(board: &'a str, setting: &'a str) -> Configuration<'a> {
    Configuration { board, setting }
}

/// The key of the recipe's block and the configuration, of each use by a recipe.
fn recipes<'a>(uses: &Uses<'a>, source: &str) -> Vec<(&'a str, Configuration<'a>)> {
    let all = uses.direct(&id(source)).iter();
    all.filter_map(|of| if let Use::Recipe(used, on) = of { Some((used.key, *on)) } else { None }).collect()
}

#[test]
fn each_source_knows_who_names_it() {
    let lock = lock();
    let uses = Uses::of(&lock);
    let shared = [("busybox", on("one", "")), ("busybox", on("two", "")), ("busybox@two+loud", on("two", "loud"))];
    assert_eq!(recipes(&uses, "file:box"), shared);
    assert_eq!(recipes(&uses, "file:patch"), [("busybox@two+loud", on("two", "loud"))]);
    assert_eq!(uses.direct(&id("file:extra")), [Use::Extra(on("one", ""))]);
    let own = id("git:git.example.own@aaaaaaaaaaaa");
    assert_eq!(uses.direct(&own), [Use::Layer("own", vec!["one"])]);
    assert_eq!(uses.direct(&id("file:gone")), []);
}

#[test]
fn a_submodule_is_needed_by_whoever_needs_its_parents() {
    let lock = lock();
    let uses = Uses::of(&lock);
    let holders = uses.holders(&id("git:git.example.deep@cccccccccccc"));
    let names: Vec<(&str, usize)> = holders.iter().map(|holder| (holder.id.key(), holder.through.len())).collect();
    let chain = [
        ("git.example.deep@cccccccccccc", 0),
        ("git.example.sub@bbbbbbbbbbbb", 1),
        ("git.example.own@aaaaaaaaaaaa", 2),
    ];
    assert_eq!(names, chain, "the circle is walked once");
    assert_eq!(holders[2].through[1], Parent { key: "git.example.own@aaaaaaaaaaaa", path: "sub" });
    assert_eq!(uses.all(&holders[0].id), [&Use::Layer("own", vec!["one"])]);
}

#[test]
fn a_path_leads_through_the_choice_and_then_through_the_default() {
    let mut lock = lock();
    {
        let uses = Uses::of(&lock);
        assert_eq!(uses.path(on("one", ""), "busybox"), ["image", "group", "busybox"]);
        assert_eq!(
            uses.path(on("two", "loud"), "busybox"),
            ["image", "horn", "busybox"],
            "image is in the default only"
        );
        assert_eq!(uses.path(on("two", ""), "nothing"), ["nothing"]);
        assert_eq!(uses.configurations_of("busybox"), [on("one", ""), on("two", ""), on("two", "loud")]);
    }
    let closure = lock.boards.get_mut("one").unwrap().closure.as_mut().unwrap();
    closure.recipes.insert("group".into(), Need::By("busybox".into()));
    assert_eq!(Uses::of(&lock).path(on("one", ""), "busybox"), ["group", "busybox"], "a circle ends");
    assert_eq!(Uses::of(&lock).path(on("gone", ""), "busybox"), ["busybox"]);
}

#[test]
fn a_tree_has_each_recipe_once() {
    let mut lock = lock();
    let loud = ["loud".to_owned()];
    {
        let tree = RecipeTree::of(&lock, "two", &loud);
        assert_eq!(tree.roots, ["image"]);
        assert_eq!((tree.under("image"), tree.under("horn")), (&["horn"][..], &["busybox"][..]));
        assert_eq!(tree.recipes["busybox"].key, "busybox@two+loud");
        assert_eq!((tree.count_under("image"), tree.names().count()), (2, 3));
        let base = RecipeTree::of(&lock, "two", &[]);
        assert_eq!((base.under("image"), base.recipes["busybox"].key), (&["busybox"][..], "busybox"));
        assert_eq!(RecipeTree::of(&lock, "gone", &[]).names().count(), 0);
    }
    // By hand: a circle, and one that is needed by nobody in the graph.
    let closure = lock.boards.get_mut("one").unwrap().closure.as_mut().unwrap();
    closure.recipes.insert("group".into(), Need::By("busybox".into()));
    closure.recipes.insert("orphan".into(), Need::By("gone".into()));
    let tree = RecipeTree::of(&lock, "one", &[]);
    let mut names: Vec<&str> = tree.names().collect();
    names.sort_unstable();
    assert_eq!(names, ["busybox", "group", "image", "orphan"]);
    assert_eq!(tree.roots, ["group", "image", "orphan"]);
}

#[test]
fn a_source_is_found_by_whatever_names_it() {
    let mut lock = lock();
    lock.files.get_mut("box").unwrap().name = Some("dir/busybox.tar".into());
    let own = "git:git.example.own@aaaaaaaaaaaa";
    for text in
        [own, "git.example.own@aaaaaaaaaaaa", "own", "git.example.own", "https://git.example/own.git", "AAAAAAA"]
    {
        assert_eq!(lock.named(text), [id(own)], "{text}");
    }
    for text in ["git://git.example/own;branch=main", "ssh://git.example/own/"] {
        assert_eq!(lock.named(text), [id(own)], "{text}");
    }
    for text in ["file:box", "box", "dir/busybox.tar", "busybox.tar", "http://h.example/box"] {
        assert_eq!(lock.named(text), [id("file:box")], "{text}");
    }
    // Of packages by their coordinates the parameters decide.
    for (key, url) in [("box", "gomod://h.example/m;version=v1"), ("patch", "gomod://h.example/m;version=v2")] {
        lock.files.get_mut(key).unwrap().urls = vec![url.parse().unwrap()];
        assert_eq!(lock.named(url), [id(&format!("file:{key}"))], "{url}");
        assert_eq!(lock.named(&format!("{url};sha256sum=1111")), [id(&format!("file:{key}"))], "{url}");
    }
    assert_eq!(lock.named("1111111").len(), 3, "several have one hash");
    for text in ["", "aaaaaa", "git:", "file:own", "://", "example", "zzzzzzzzz"] {
        assert_eq!(lock.named(text), [], "{text}");
    }
    assert_eq!(lock.containing("EXAMPLE").len(), 3);
    assert_eq!(lock.containing("pat"), [id("file:patch")]);
}
