//! Scripts as modules: which import which, and the texts that they say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use bytes::Bytes;

use super::{ASSETS, is_script};
use crate::text::Lang;

/// Each script with what it needs at once: its imports, their imports and so on, without itself, by path.
static IMPORTED: LazyLock<BTreeMap<&str, BTreeSet<String>>> = LazyLock::new(|| {
    let scripts = || ASSETS.files.keys().filter(|path| is_script(path));
    let imports: BTreeMap<&str, Vec<&str>> = scripts().map(|path| (path.as_str(), imports(code(path)))).collect();
    let imports = |path: &str| imports.get(path).cloned().unwrap_or_default();
    scripts().map(|path| (path.as_str(), reachable(path, imports))).collect()
});

/// What a script needs at once, by path; browsers would otherwise learn of it one import after the other.
pub(in crate::http) fn imported(script: &str, lang: Lang) -> Vec<String> {
    let mut modules: Vec<String> = IMPORTED.get(script).into_iter().flatten().cloned().collect();
    if modules.iter().any(|module| module == "lib/text.js") {
        modules.push(words_path(lang));
    }
    modules
}

/// Where the texts of a language lie as a module.
pub(super) fn words_path(lang: Lang) -> String {
    format!("text/{lang}.js")
}

/// The texts that scripts say, as a module: those whose keys stand in them, whole or as the beginning of a built one.
///
/// The rest, most of them, are in the pages already.
pub(super) fn words(lang: Lang, scripts: &[Bytes]) -> String {
    let scripts: Vec<_> = scripts.iter().map(|script| String::from_utf8_lossy(script)).collect();
    let built: BTreeSet<&str> = scripts.iter().flat_map(|code| built(code)).collect();
    let quoted: HashSet<&str> = scripts.iter().flat_map(|code| code.split('"')).collect();
    let said = |key: &str| {
        let stem = key.strip_suffix(".one").or(key.strip_suffix(".other")).unwrap_or(key);
        quoted.contains(stem) || quoted.contains(key) || built.iter().any(|beginning| key.starts_with(beginning))
    };
    let texts: BTreeMap<String, String> = serde_json::from_str(lang.file()).unwrap_or_default();
    let texts: BTreeMap<_, _> = texts.into_iter().filter(|(key, _)| said(key)).collect();
    format!("export default {};\n", serde_json::to_string(&texts).unwrap_or_default())
}

/// What keys begin with that a script builds: `error.` of `` `error.${code}` ``.
fn built(code: &str) -> impl Iterator<Item = &str> {
    let beginnings = code.split('`').filter_map(|rest| rest.split_once("${").map(|(beginning, _)| beginning));
    let in_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    beginnings.filter(move |beginning| beginning.ends_with('.') && beginning.chars().all(in_key))
}

fn code(path: &str) -> &'static str {
    ASSETS.files.get(path).map_or("", |asset| std::str::from_utf8(&asset.plain).unwrap_or_default())
}

fn reachable<'a>(script: &str, imports: impl Fn(&str) -> Vec<&'a str>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![script.to_owned()];
    while let Some(path) = ahead.pop() {
        for import in imports(&path) {
            let import = beside(&path, import);
            if import != script && reached.insert(import.clone()) {
                ahead.push(import);
            }
        }
    }
    reached
}

/// What a module imports by `import … from "…"`, `import "…"` or `export … from "…"`, each at the beginning of a line.
fn imports(code: &str) -> Vec<&str> {
    let begins = |line: &str| ["import ", "export {", "export *"].iter().any(|word| line.starts_with(word));
    let starts = code.match_indices('\n').map(|(at, _)| at + 1);
    let statements = std::iter::once(0).chain(starts).filter(|at| begins(&code[*at..]));
    let statements = statements.filter_map(|at| code[at..].split(';').next());
    statements
        .filter_map(|statement| {
            let (before, address) = statement.trim_end().strip_suffix('"')?.rsplit_once('"')?;
            let before = before.trim_end();
            (before == "import" || before.ends_with("from")).then_some(address)
        })
        .collect()
}

/// The path that a relative address leads to.
fn beside(path: &str, address: &str) -> String {
    let mut folders: Vec<&str> = path.split('/').collect();
    folders.pop();
    for part in address.split('/') {
        match part {
            "." => {}
            ".." => drop(folders.pop()),
            part => folders.push(part),
        }
    }
    folders.join("/")
}

#[cfg(test)]
mod tests;
