-- One row per share, from the first byte of its upload until its receipt is forgotten.
CREATE TABLE IF NOT EXISTS share (
    number         INTEGER PRIMARY KEY, -- grows: what is new lies together, in pages that are at hand
    id             BLOB NOT NULL UNIQUE,
    owner          BLOB NOT NULL,
    upload         BLOB NOT NULL,
    verifier       BLOB NOT NULL,
    password       INTEGER NOT NULL,
    expires_in     INTEGER NOT NULL,
    downloads      INTEGER NOT NULL,
    length         INTEGER,
    manifest_len   INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    writer         INTEGER NOT NULL,
    resumable      INTEGER NOT NULL,
    size           INTEGER NOT NULL,
    base           INTEGER NOT NULL,
    inline         INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    window_ends_at INTEGER NOT NULL,
    abandoned_at   INTEGER,
    expires_at     INTEGER,
    revoked_at     INTEGER,
    opened         INTEGER NOT NULL,
    wrong_proofs   INTEGER NOT NULL,
    held           INTEGER NOT NULL, -- bytes that it occupies or has reserved
    free_at        INTEGER,          -- when to look whether they may be freed; NULL once they are
    freed_at       INTEGER
);
CREATE INDEX IF NOT EXISTS share_due ON share (free_at) WHERE free_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS share_old ON share (freed_at) WHERE freed_at IS NOT NULL;

-- What a lease reads: deleted when nobody may read it any more.
CREATE TABLE IF NOT EXISTS payload (
    share    INTEGER PRIMARY KEY,
    manifest BLOB NOT NULL,
    content  BLOB
);

CREATE TABLE IF NOT EXISTS claim (
    share            INTEGER NOT NULL,
    number           INTEGER NOT NULL, -- 0 for the first
    claim            BLOB NOT NULL,
    claimed_at       INTEGER NOT NULL,
    lease_expires_at INTEGER NOT NULL,
    finished_at      INTEGER,
    served           INTEGER NOT NULL,
    PRIMARY KEY (share, number)
) WITHOUT ROWID;

-- Wrong passwords of the last hour.
CREATE TABLE IF NOT EXISTS guess (
    id      BLOB NOT NULL,
    at      INTEGER NOT NULL,
    network BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS guess_of ON guess (id, at);
CREATE INDEX IF NOT EXISTS share_uploading ON share (id) WHERE expires_at IS NULL AND freed_at IS NULL;

CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
