//! Which of the known names was perhaps meant: the only place for "did you mean".

/// Comparing is quadratic, and nobody mistypes a whole page.
const LONGEST: usize = 200;

/// The known names that are so near to a wrong one that they were perhaps meant, nearest first.
pub fn names<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    if wrong.len() > LONGEST {
        return Vec::new();
    }
    let wrong = wrong.to_lowercase();
    let known = known.into_iter().filter(|name| name.len() <= LONGEST);
    let all = known.map(|name| (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), name));
    let mut near: Vec<_> = all.filter(|(distance, name)| *distance <= 1 + name.len().min(wrong.len()) / 4).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().map(|(_, name)| name).collect()
}

/// The question for a hint: `` did you mean `a` or `b`? `` with at most this many of the nearest names; `None` if no name is
/// near.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>, most: usize) -> Option<String> {
    let near: Vec<String> = names(wrong, known).into_iter().take(most).map(|name| format!("`{name}`")).collect();
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_near() {
        assert_eq!(names("qemo", ["intel", "qemu", "qemo2", "qemo2"]), ["qemo2", "qemu"]);
        assert_eq!(names("INTEL", ["intel", "qemu"]), ["intel"]);
        let question = did_you_mean("qemo", ["intel", "qemu", "qemo2"], 2);
        assert_eq!(question.as_deref(), Some("did you mean `qemo2` or `qemu`?"));
        assert_eq!(did_you_mean("pi", ["intel", "qemu"], 2), None);
        assert!(names("pi", ["intel", "qemu"]).is_empty());
        assert!(names(&"x".repeat(500), [&*"x".repeat(500)]).is_empty());
    }
}
