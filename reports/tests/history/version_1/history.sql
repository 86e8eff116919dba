CREATE TABLE harness_history (version INTEGER NOT NULL);
INSERT INTO harness_history VALUES(1);
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
INSERT INTO run VALUES(1,'ad589974c9d3a928d990d7293513e85f2dd79c1147f914edb95ed58298fb82ba','/runs/0',1,1728000000000000000,1728003600000000000,'main','9e3779b97f4a7c15dcbfa53e0acf1bbc7f4a7c15',0,'0.1.0','0123456789abcdef',1,0,0,0,0,0,'{"baseline":"reference:weights=f16","command_line":["harness","run"],"ended":"2024-10-04T01:00:00Z","gates":[],"harness_version":"0.1.0","machine":{"fingerprint":"0123456789abcdef","identity":{"chip":"generated"},"state_at_end":{"load":0.9},"state_at_start":{"load":0.1},"warnings":[]},"models":[{"architecture":"llama","format":"gguf","name":"generated","quantization":"q4_0","sha256":"0000000000000000000000000000000000000000000000000000000000000000","size_bytes":1,"tokenizer_sha256":"1111111111111111111111111111111111111111111111111111111111111111"}],"plan":{"engines":["reference:weights=f16"],"suites":[]},"project":{"branch":"main","dirty":false,"revision":"9e3779b97f4a7c15dcbfa53e0acf1bbc7f4a7c15"},"seeds":{"prompts":1},"settings":{"latency":{"max_tokens":"64"}},"started":"2024-10-04T00:00:00Z"}');
INSERT INTO run VALUES(2,'981b928ef70d389bd49a026e468f58b214d8ded67106af166366024fedcf020d','/runs/1',1,1728086400000000000,1728090000000000000,'main','3c6ef372fe94f82ab97f4a7c151e3779fe94f82a',0,'0.1.0','0123456789abcdef',1,0,0,0,0,0,'{"baseline":"reference:weights=f16","command_line":["harness","run"],"ended":"2024-10-05T01:00:00Z","gates":[],"harness_version":"0.1.0","machine":{"fingerprint":"0123456789abcdef","identity":{"chip":"generated"},"state_at_end":{"load":0.9},"state_at_start":{"load":0.1},"warnings":[]},"models":[{"architecture":"llama","format":"gguf","name":"generated","quantization":"q4_0","sha256":"0000000000000000000000000000000000000000000000000000000000000000","size_bytes":1,"tokenizer_sha256":"1111111111111111111111111111111111111111111111111111111111111111"}],"plan":{"engines":["reference:weights=f16"],"suites":[]},"project":{"branch":"main","dirty":false,"revision":"3c6ef372fe94f82ab97f4a7c151e3779fe94f82a"},"seeds":{"prompts":1},"settings":{"latency":{"max_tokens":"64"}},"started":"2024-10-05T00:00:00Z"}');
INSERT INTO run VALUES(3,'a4aa205cb0c1296f6457ef4760d70498673c05109f2389b0770707b1b01acf19','/runs/2',1,1728172800000000000,1728176400000000000,'main','daa66d2c7ddf743f963eefba1fed53367ddf743f',0,'0.1.0','0123456789abcdef',1,0,0,0,0,0,'{"baseline":"reference:weights=f16","command_line":["harness","run"],"ended":"2024-10-06T01:00:00Z","gates":[],"harness_version":"0.1.0","machine":{"fingerprint":"0123456789abcdef","identity":{"chip":"generated"},"state_at_end":{"load":0.9},"state_at_start":{"load":0.1},"warnings":[]},"models":[{"architecture":"llama","format":"gguf","name":"generated","quantization":"q4_0","sha256":"0000000000000000000000000000000000000000000000000000000000000000","size_bytes":1,"tokenizer_sha256":"1111111111111111111111111111111111111111111111111111111111111111"}],"plan":{"engines":["reference:weights=f16"],"suites":[]},"project":{"branch":"main","dirty":false,"revision":"daa66d2c7ddf743f963eefba1fed53367ddf743f"},"seeds":{"prompts":1},"settings":{"latency":{"max_tokens":"64"}},"started":"2024-10-06T00:00:00Z"}');
CREATE TABLE engine (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    engine TEXT NOT NULL,
    version TEXT NOT NULL,
    device TEXT NOT NULL,
    options TEXT NOT NULL
);
INSERT INTO engine VALUES(1,'d14a6338afe853b8b5f45f7971e98c0d81e594377539704e8aec04dc0a1eae0b','reference:weights=f16','reference','1','cpu','{}');
CREATE TABLE model (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    quantization TEXT NOT NULL
);
INSERT INTO model VALUES(1,'a15d4a8d8ecf33674666c6793ab0165662ea8fb496b634262b5e8c69f4a1fe92','0000000000000000000000000000000000000000000000000000000000000000','generated','q4_0');
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
INSERT INTO cell VALUES(1,1,0,'latency/reference:weights=f16','latency',1,NULL,1,'39e0d6fe800c9e4b15046d77851fcdf4ae09db62b7247f6cd07b996ab4956723','{"is":"completed"}',1728000000000000000,60.0,NULL);
INSERT INTO cell VALUES(2,2,0,'latency/reference:weights=f16','latency',1,NULL,1,'39e0d6fe800c9e4b15046d77851fcdf4ae09db62b7247f6cd07b996ab4956723','{"is":"completed"}',1728086400000000000,60.0,NULL);
INSERT INTO cell VALUES(3,3,0,'latency/reference:weights=f16','latency',1,NULL,1,'39e0d6fe800c9e4b15046d77851fcdf4ae09db62b7247f6cd07b996ab4956723','{"is":"completed"}',1728172800000000000,60.0,NULL);
CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    better TEXT NOT NULL,
    headline SMALLINT NOT NULL,
    ranks SMALLINT NOT NULL
);
INSERT INTO metric VALUES(1,'9227d2e3c5435907b8d0dc9bfc32e1c6d56f53994b7ce9490c269d17be710473','latency.ctx_128.ttft_p50','ns','lower',1,0);
INSERT INTO metric VALUES(2,'8db51026bdb8ca63170fec291888ebacb72fea1ffb33c51882bb8e0f13b373fd','latency.ctx_128.itl_p50','ns','lower',1,0);
INSERT INTO metric VALUES(3,'2ecea98d63be27b41dff0221026722508b41222c6666d9abaeba200969bcc7b8','latency.ctx_128.itl_p99','ns','lower',1,0);
CREATE TABLE judgement (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    confidence DOUBLE PRECISION,
    gate TEXT,
    verdict TEXT NOT NULL,
    why TEXT
);
INSERT INTO judgement VALUES(1,'fa5fcff1a329bc0777c4a1c0fb908b27fd6cadd7d0f95021a572b02c58b7996d',0.94999999999999995559,NULL,'info',NULL);
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
INSERT INTO point VALUES(1,1,0,78780950.380637660623,77993140.876831278203,79568759.884444043039,30,1);
INSERT INTO point VALUES(1,2,0,80713687.002283290026,79906550.132260456679,81520823.872306123376,30,1);
INSERT INTO point VALUES(1,3,0,78439544.760582074521,77655149.312976256012,79223940.20818789303,30,1);
INSERT INTO point VALUES(2,1,1,8318972.682374839671,8235782.9555510915818,8402162.4091985877601,30,1);
INSERT INTO point VALUES(2,2,1,8221190.7050507217649,8138978.7980002146214,8303402.6121012289075,30,1);
INSERT INTO point VALUES(2,3,1,8290862.9973289398474,8207954.3673556502906,8373771.6273022294042,30,1);
INSERT INTO point VALUES(3,1,2,13728694.972794076427,13591408.023066135123,13865981.922522017732,30,1);
INSERT INTO point VALUES(3,2,2,13972012.102125728502,13832291.981104470789,14111732.223146986216,30,1);
INSERT INTO point VALUES(3,3,2,13955464.352314902469,13815909.708791753277,14095018.995838051661,30,1);
CREATE INDEX run_by_start ON run (started_ns);
CREATE INDEX point_by_cell ON point (cell_id);
