//! The published schemas are those of the documents. `UPDATE=1 cargo test -p portcullis-report` rewrites them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::path::Path;

#[test]
fn published_schemas_are_the_documents_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    for (name, schema) in portcullis_report::json::schemas() {
        let path = folder.join(format!("{name}.schema.json"));
        let wanted = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &wanted).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(published == wanted, "{} is out of date: run with UPDATE=1", path.display());
    }
}
