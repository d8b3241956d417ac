use super::*;

const SCRIPT: &str = r#"// import { no } from "./comment.js";
import * as all from "./all.js";
import one, { two } from "../two.js";
import {
  three,
  four,
} from "./deep/three.js";
import "./effect.js";
export { five } from "./five.js";
export * from "./six.js";
export const text = "from";
/** @typedef {import("./types.js").Type} Type */
const later = await import("./later.js");
new Worker(new URL("./worker.js", import.meta.url));
export function say() {
  return t(`error.${code}`) + `${text} and ${text}`;
}
"#;

#[test]
fn static_imports_are_found_and_nothing_else() {
    let found = ["./all.js", "../two.js", "./deep/three.js", "./effect.js", "./five.js", "./six.js"];
    assert_eq!(imports(SCRIPT), found);
    assert!(imports("export {};\n").is_empty());
}

#[test]
fn addresses_are_resolved() {
    for (path, address, leads_to) in [
        ("send.js", "./lib/api.js", "lib/api.js"),
        ("lib/api.js", "./text.js", "lib/text.js"),
        ("lib/api.js", "../vendor/lean-qr.mjs", "vendor/lean-qr.mjs"),
    ] {
        assert_eq!(beside(path, address), leads_to);
    }
}

#[test]
fn imports_of_imports_are_needed_once() {
    let code = |path: &str| match path {
        "a.js" => "import \"./lib/b.js\";\nimport \"./lib/c.js\";\n",
        "lib/b.js" => "import \"./c.js\";\n",
        "lib/c.js" => "import \"./b.js\";\nimport \"../a.js\";\n",
        _ => "",
    };
    assert_eq!(reachable("a.js", |path| imports(code(path))).into_iter().collect::<Vec<_>>(), ["lib/b.js", "lib/c.js"]);
}

#[test]
fn every_import_leads_to_a_file() {
    let mut seen = 0;
    for (script, modules) in IMPORTED.iter() {
        for module in modules {
            assert!(ASSETS.files.contains_key(module), "{script} imports {module}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn built_keys_are_found_by_their_beginning() {
    assert_eq!(built(SCRIPT).collect::<Vec<_>>(), ["error."]);
}

#[test]
fn a_module_of_words_holds_what_scripts_say() {
    let scripts = [Bytes::from_static(b"say(\"send.heading\"); t(\"result.lede\", { n }); t(`problem.busy.${part}`);")];
    for lang in Lang::ALL {
        let words = words(lang, &scripts);
        let json = words.strip_prefix("export default ").unwrap().strip_suffix(";\n").unwrap();
        let texts: BTreeMap<String, String> = serde_json::from_str(json).unwrap();
        let keys = [
            "problem.busy.advice",
            "problem.busy.happened",
            "problem.busy.title",
            "result.lede.one",
            "result.lede.other",
            "send.heading",
        ];
        assert_eq!(texts.keys().collect::<Vec<_>>(), keys);
        assert_eq!(texts["send.heading"], lang.text("send.heading"));
    }
}
