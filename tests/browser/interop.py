"""Opens and seals shares with PyPI's http_ece, under keys derived by hand: nothing here is ours.

One JSON object in, one out; binary values are base64url without padding.
"""

import base64
import hashlib
import hmac
import json
import sys
import unicodedata

import http_ece

RECORD = 262144


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def hkdf(ikm, info, length):
    """RFC 5869 with SHA-256 and no salt, for up to 32 bytes."""
    key = hmac.new(bytes(32), ikm, hashlib.sha256).digest()
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()[:length]


def derive(secret, password):
    ikm = secret
    if password:
        password = unicodedata.normalize("NFC", password).encode()
        ikm = hashlib.pbkdf2_hmac("sha256", password, secret, 600_000, 16)
    return [hkdf(ikm, b"onetimeshare v1 " + name, length) for name, length in KEYS]


KEYS = ((b"content", 16), (b"manifest", 16), (b"proof", 32))

asked = json.load(sys.stdin)
content, manifest, proof = derive(decode(asked["secret"]), asked.get("password"))
if asked["do"] == "open":
    told = {
        "manifest": json.loads(http_ece.decrypt(decode(asked["manifest"]), key=manifest)),
        "content": encode(http_ece.decrypt(decode(asked["content"]), key=content)),
    }
else:
    text = json.dumps(asked["manifest"], ensure_ascii=False).encode()
    told = {
        "manifest": encode(http_ece.encrypt(text, key=manifest, rs=RECORD)),
        "content": encode(http_ece.encrypt(decode(asked["content"]), key=content, rs=RECORD)),
    }
told["proof"] = encode(proof)
told["verifier"] = hashlib.sha256(proof).hexdigest()
json.dump(told, sys.stdout)
