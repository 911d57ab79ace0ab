//! Checks of `[audit]`.

use super::AllowedFinding;
use super::document::Diagnostics;
use super::raw::{At, RawAllow, RawAudit};
use crate::error::{Error, Result};

/// The exceptions that are in order.
pub(super) fn check(raw: &RawAudit, diagnostics: &mut Diagnostics) -> Vec<AllowedFinding> {
    let allow = raw.allow.iter().flatten();
    allow.filter_map(|exception| diagnostics.take(checked(exception))).collect()
}

fn checked(raw: &At<RawAllow>) -> Result<AllowedFinding> {
    let fault = |message: &str, help: &str| Error::input(message).at(raw.span.clone(), "this one").help(help);
    let text = |text: &Option<super::raw::RawText>| text.as_ref().map(|text| text.value.clone());
    let RawAllow { rule, layer, recipe, why } = &raw.value;
    let rule = text(rule).ok_or_else(|| fault("an exception of [audit] names no `rule`", "add `rule = \"KIND\"`"))?;
    let why = text(why).filter(|why| !why.trim().is_empty());
    let why = why.ok_or_else(|| {
        fault("an exception of [audit] does not say why", "add `why = \"…\"`: a reviewer has to judge it")
    })?;
    if layer.is_none() && recipe.is_none() {
        return Err(fault(
            "an exception of [audit] would allow a kind of finding everywhere",
            "add `layer` or `recipe`, or both",
        ));
    }
    Ok(AllowedFinding { rule, layer: text(layer), recipe: text(recipe), why })
}
