//! The format's vectors, RFC 8188's own, and what a reader must refuse.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::*;
use crate::share::{Digest, Token};

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/seal-v1.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((31 * i + i / 251) % 256) as u8).collect()
}

fn keys_of(vector: &Value) -> Keys {
    let secret: Token = vector["secret"].as_str().unwrap().parse().unwrap();
    Keys::derive(&vector["password"].as_str().map_or(secret, |password| stretch(&secret, password)))
}

/// Seals with a given salt, as only a test may.
fn seal_with(material: &[u8; 16], salt: &[u8], plain: &[u8]) -> Vec<u8> {
    let sealer = Sealer { cipher: Cipher::new(material, salt), record: 0, plain: BytesMut::new() };
    let header = [salt, &(RECORD as u32).to_be_bytes(), &[0]].concat();
    run(sealer, &header, plain)
}

fn run(mut sealer: Sealer, header: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = header.to_vec();
    for piece in plain.chunks(100_003) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            sealed.extend(sealer.push(&mut piece).into_iter().flatten());
        }
    }
    sealed.extend(sealer.finish());
    sealed
}

#[test]
fn the_keys_of_the_vectors_are_derived() {
    for vector in vectors() {
        let keys = keys_of(&vector);
        assert_eq!(keys.content[..], bytes(&vector["content"])[..]);
        assert_eq!(keys.manifest[..], bytes(&vector["manifest"])[..]);
        assert_eq!(keys.proof.0[..], bytes(&vector["proof"])[..]);
        assert_eq!(keys.proof.verifier().to_string(), vector["verifier"]);
    }
}

#[test]
fn a_decomposed_password_is_the_same_password() {
    let secret = Token::from_bytes([7; 16]);
    assert_eq!(stretch(&secret, "p\u{e4}ss"), stretch(&secret, "pa\u{308}ss"));
}

#[test]
fn the_contents_of_the_vectors_are_sealed_to_the_byte_and_opened_again() {
    let mut seen = 0;
    for vector in vectors() {
        let keys = keys_of(&vector);
        for message in vector["content_messages"].as_array().unwrap() {
            let plain = content(message["plain_length"].as_u64().unwrap() as usize);
            assert_eq!(Digest::of(&plain).to_string(), message["plain_sha256"]);
            let sealed = seal_with(&keys.content, &bytes(&message["salt"]), &plain);
            assert_eq!(sealed.len() as u64, message["sealed_length"].as_u64().unwrap());
            assert_eq!(sealed_len(plain.len() as u64), sealed.len() as u64);
            assert_eq!(plain_len(sealed.len() as u64), Some(plain.len() as u64));
            assert_eq!(Digest::of(&sealed).to_string(), message["sealed_sha256"]);
            assert_eq!(open(&keys.content, &sealed).unwrap(), plain);
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} messages");
}

#[test]
fn the_manifests_of_the_vectors_are_opened() {
    for vector in vectors() {
        let message = &vector["manifest_message"];
        let sealed = bytes(&message["sealed"]);
        let keys = keys_of(&vector);
        let plain = message["plain"].as_str().unwrap();
        assert_eq!(open(&keys.manifest, &sealed).unwrap(), plain.as_bytes());
        assert_eq!(seal_with(&keys.manifest, &bytes(&message["salt"]), plain.as_bytes()), sealed);
        let manifest = Manifest::open(&keys, &sealed, 123).unwrap();
        assert_eq!((manifest.files[0].name.as_str(), manifest.note.as_str()), ("a.pdf", "für dich"));
        assert_eq!(Manifest::open(&keys, &sealed, 124), Err(Error::WrongLength));
    }
}

#[test]
fn a_manifest_of_another_writer_is_read_or_told_apart() {
    let keys = keys_of(&vectors()[0]);
    let opened = |json: &str| Manifest::open(&keys, &seal(&keys.manifest, json.as_bytes()), 3);
    let nulls =
        opened(r#"{"v":1,"files":[{"name":"a","type":null,"size":null,"crc32":null,"kind":null}],"note":null}"#);
    assert_eq!(nulls, opened(r#"{"v":1,"files":[{"name":"a","size":3}]}"#));
    assert_eq!(nulls.unwrap().note, "");
    assert_eq!(opened(r#"{"v":2,"parts":{}}"#), Err(Error::UnknownVersion(2)));
    assert_eq!(opened(r#"{"files":[]}"#), Err(Error::NotAManifest));
}

#[test]
fn the_messages_of_rfc_8188_are_opened() {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    for (key, message) in [
        ("yqdlZ-tYemfogSmv7Ws5PQ", "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg"),
        (
            "BO3ZVPxUlnLORbVGMpbT1Q",
            "uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA",
        ),
    ] {
        let key: [u8; 16] = decode(key).try_into().unwrap();
        assert_eq!(open(&key, &decode(message)).unwrap(), b"I am the walrus");
    }
}

#[test]
fn a_reader_refuses_what_is_not_whole() {
    let key = [3; 16];
    let plain = content(PLAIN_RECORD + 10);
    let sealed = seal(&key, &plain);
    assert_eq!(open(&key, &sealed[..HEADER]), Err(Error::NoRecord));
    assert_eq!(open(&key, &sealed[..5]), Err(Error::NoRecord));
    assert_eq!(open(&key, &sealed[..HEADER + RECORD]), Err(Error::Truncated));
    assert_eq!(open(&key, &sealed[..HEADER + RECORD + 3]), Err(Error::Truncated));
    assert_eq!(open(&[4; 16], &sealed), Err(Error::Tampered));
    assert!(open(&key, &[&sealed[..], &sealed[HEADER..]].concat()).is_err());
    assert!(open(&key, &[&sealed[..], b"x"].concat()).is_err());
    for at in [0, 16, 20, HEADER, HEADER + RECORD - 1, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(open(&key, &changed).is_err(), "byte {at}");
    }
    let mut small = sealed;
    small[16..20].copy_from_slice(&17u32.to_be_bytes());
    assert_eq!(open(&key, &small), Err(Error::RecordSize(17)));
}

#[test]
fn any_record_opens_on_its_own() {
    let key = [9; 16];
    let plain = content(2 * PLAIN_RECORD + 5);
    let sealed = seal(&key, &plain);
    let opener = Opener::new(&key, sealed[..HEADER].try_into().unwrap(), sealed.len() as u64).unwrap();
    for record in [2, 0, 1] {
        let start = HEADER + RECORD * record;
        let mut bytes = sealed[start..sealed.len().min(start + RECORD)].to_vec();
        let length = opener.open(record as u64, &mut bytes).unwrap();
        assert_eq!(bytes[..length], plain[PLAIN_RECORD * record..][..length]);
    }
    let mut second = sealed[HEADER + RECORD..HEADER + 2 * RECORD].to_vec();
    assert_eq!(opener.open(0, &mut second), Err(Error::Tampered));
}

#[test]
fn lengths_that_no_message_has_are_known() {
    for plain in [0, 1, PLAIN_RECORD as u64 - 1, PLAIN_RECORD as u64, PLAIN_RECORD as u64 + 1, 5 << 30] {
        assert_eq!(plain_len(sealed_len(plain)), Some(plain));
    }
    assert_eq!(sealed_len(0), 38);
    for sealed in [0, 20, 21, 37, sealed_len(PLAIN_RECORD as u64) + 17] {
        assert_eq!(plain_len(sealed), None, "{sealed}");
    }
}
