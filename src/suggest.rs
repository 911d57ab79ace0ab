//! Which of the known names was perhaps meant.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_near() {
        assert_eq!(names("qemo", ["intel", "qemu", "qemo2", "qemo2"]), ["qemo2", "qemu"]);
        assert_eq!(names("INTEL", ["intel", "qemu"]), ["intel"]);
        assert!(names("pi", ["intel", "qemu"]).is_empty());
        assert!(names(&"x".repeat(500), [&*"x".repeat(500)]).is_empty());
    }
}
