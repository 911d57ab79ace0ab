//! Findings as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), which code scanning services read.

use kbuild_audit::{AuditReport, Finding, Rule};
use serde_json::{Value, json};

use crate::disk;

/// The log of one run.
pub(super) fn document(report: &AuditReport) -> Value {
    let rules: Vec<Value> = Rule::ALL.iter().map(|rule| rule_of(*rule)).collect();
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "kbuild audit", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

fn rule_of(rule: Rule) -> Value {
    json!({
        "id": rule.name(),
        "shortDescription": { "text": rule.why() },
        "help": { "text": rule.hint() },
    })
}

fn result(finding: &Finding) -> Value {
    // A URI, so what stands for something else in one is escaped (SARIF 3.4.3).
    let file = disk::shown(&finding.file).replace('%', "%25").replace(' ', "%20");
    json!({
        "ruleId": finding.kind.name(),
        "level": "error",
        "message": { "text": format!("{}: {}", finding.recipe, finding.message) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": file },
                "region": { "startLine": finding.line, "snippet": { "text": finding.excerpt } },
            },
        }],
    })
}
