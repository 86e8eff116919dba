-- What runs found, over time. The dialect is SQLite's; `migrate.rs` tells the two phrases that
-- PostgreSQL spells differently. A `digest` is the SHA-256 of the row's other columns: a row is
-- found by it whatever of them is null or long.

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    folder TEXT NOT NULL,
    record_schema INTEGER NOT NULL,
    started_ns BIGINT NOT NULL,
    ended_ns BIGINT NOT NULL,
    branch TEXT,
    revision TEXT,
    dirty SMALLINT NOT NULL,
    harness_version TEXT NOT NULL,
    machine TEXT NOT NULL,
    completed INTEGER NOT NULL,
    engines_failed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    gates_passed INTEGER NOT NULL,
    gates_failed INTEGER NOT NULL,
    samples_bytes BIGINT NOT NULL,
    provenance TEXT NOT NULL
);
CREATE INDEX run_by_start ON run (started_ns);

CREATE TABLE engine (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    engine TEXT NOT NULL,
    version TEXT NOT NULL,
    device TEXT NOT NULL,
    options TEXT NOT NULL
);

CREATE TABLE model (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    quantization TEXT NOT NULL
);

CREATE TABLE cell (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES run (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    suite TEXT NOT NULL,
    engine_id INTEGER NOT NULL REFERENCES engine (id),
    stands_in_for TEXT,
    model_id INTEGER NOT NULL REFERENCES model (id),
    settings_sha256 TEXT NOT NULL,
    status TEXT NOT NULL,
    started_ns BIGINT NOT NULL,
    wall_s DOUBLE PRECISION NOT NULL,
    work TEXT,
    UNIQUE (run_id, position)
);

CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    better TEXT NOT NULL,
    headline SMALLINT NOT NULL,
    ranks SMALLINT NOT NULL
);

CREATE TABLE judgement (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    confidence DOUBLE PRECISION,
    gate TEXT,
    verdict TEXT NOT NULL,
    why TEXT
);

-- Millions of rows, so that references are not checked one by one. Those of one metric lie
-- together, in the order they were added.
CREATE TABLE point (
    metric_id INTEGER NOT NULL,
    cell_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    value DOUBLE PRECISION,
    ci_low DOUBLE PRECISION,
    ci_high DOUBLE PRECISION,
    n BIGINT NOT NULL,
    judgement_id INTEGER NOT NULL,
    PRIMARY KEY (metric_id, cell_id, position)
) WITHOUT ROWID;
CREATE INDEX point_by_cell ON point (cell_id);
