//! The difference of two locks for programs.

use serde_json::{Value, json};

use super::{DiffView, PinHistory};
use crate::cli::describe::extend;
use crate::lock::{BoardChange, PinChange, PinDetail, PinnedAt, Presence, RecipeChange, RecipeSide, SourceVolume};
use crate::store::{CommitLine, CommitsBetween};

/// All fields.
pub(super) fn of(view: &DiffView<'_>) -> Value {
    let diff = &view.diff;
    let pins = |pins: &[PinChange<'_>]| -> Value {
        pins.iter().map(|pin| pin_json(pin, view.histories.get(pin.name))).collect()
    };
    let licenses = diff.licenses.iter().map(|(license, recipes)| json!({ "license": license, "recipes": recipes }));
    json!({
        "since": view.since,
        "layers": pins(&diff.layers),
        "sources": pins(&diff.sources),
        "recipes": diff.recipes.iter().map(recipe_json).collect::<Vec<_>>(),
        "licenses": licenses.collect::<Vec<_>>(),
        "boards": diff.boards.iter().map(board_json).collect::<Vec<_>>(),
        "added": volume_json(&diff.added),
        "removed": volume_json(&diff.removed),
    })
}

fn pin_json(pin: &PinChange<'_>, history: Option<&PinHistory>) -> Value {
    let mut value = json!({
        "name": pin.name,
        "from": pin.from.as_ref().map(place_json),
        "to": pin.to.as_ref().map(place_json),
        "boards": pin.boards,
    });
    if !pin.details.is_empty() {
        let details: Value = pin.details.iter().map(detail_json).collect();
        extend(&mut value, json!({ "details": details }));
    }
    if let Some(PinHistory { commits, page, .. }) = history {
        let lines = |lines: &[CommitLine]| -> Value {
            lines.iter().map(|line| json!({ "commit": line.id.to_string(), "subject": line.subject })).collect()
        };
        let (direction, commits) = match commits {
            Some(CommitsBetween::Forward(commits)) => (Some("forward"), lines(commits)),
            Some(CommitsBetween::Back(commits)) => (Some("back"), lines(commits)),
            None => (None, Value::Null),
        };
        extend(&mut value, json!({ "direction": direction, "commits": commits, "page": page }));
    }
    value
}

fn detail_json(detail: &PinDetail) -> Value {
    json!({ "what": detail.what.name(), "name": detail.name, "change": detail.change.name() })
}

fn place_json(at: &PinnedAt<'_>) -> Value {
    match at {
        PinnedAt::Git { url, reference, version, commit, .. } => json!({
            "git": url.as_str(),
            "branch": reference.branch,
            "tag": reference.tag,
            "version": version,
            "commit": commit.to_string(),
        }),
        PinnedAt::File { url, version, sha256, size } => {
            json!({ "url": url.as_str(), "version": version, "sha256": sha256.to_string(), "size": size })
        }
        PinnedAt::Image { name, digest } => json!({ "oci": name, "digest": format!("sha256:{digest}") }),
    }
}

fn recipe_json(change: &RecipeChange<'_>) -> Value {
    let side = |side: &RecipeSide<'_>| {
        json!({
            "versions": side.versions,
            "licenses": side.licenses,
            "layers": side.layers,
            "sources": side.sources.keys().collect::<Vec<_>>(),
        })
    };
    json!({
        "name": change.name,
        "from": change.from.as_ref().map(side),
        "to": change.to.as_ref().map(side),
        "boards": change.boards,
    })
}

fn board_json(board: &BoardChange<'_>) -> Value {
    json!({
        "name": board.name,
        "state": match board.presence {
            Presence::Both => "changed",
            Presence::OnlyNew => "new",
            Presence::OnlyOld => "gone",
        },
        "recipes_added": board.recipes_added,
        "recipes_removed": board.recipes_removed,
        "recipes_changed": board.recipes_changed,
        "pins": board.pins,
    })
}

fn volume_json(volume: &SourceVolume) -> Value {
    json!({ "sources": volume.sources, "bytes": volume.bytes, "unknown_size": volume.unknown })
}
