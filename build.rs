//! A new file below `static` is embedded, too: the compiler itself only watches those that are.

fn main() {
    println!("cargo::rerun-if-changed=static");
}
