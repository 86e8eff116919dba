// Causal grouped-query attention with an online softmax (Dao et al. 2022): the query heads that
// share a key/value head are rows of one tile, which passes over tiles of KEYS positions. With
// parts, a workgroup sees a part of the positions and `merge.wgsl` puts the parts together.
struct Params {
    // Position of the first query, and how many there are.
    start: u32,
    tokens: u32,
    // Positions of a part, and how many parts.
    span: u32,
    parts: u32,
    // Query heads of a key/value head, and key/value heads.
    group: u32,
    kv_heads: u32,
    // Distance of tokens in queries and out, in fours.
    q_stride: u32,
    out_stride: u32,
    // Positions that a query sees, its own included.
    window: u32,
    // Factor of scores, and the cap that they approach if it is not 0.
    scale: f32,
    cap: f32,
}

// Fours of a head, rows and positions of a tile.
override DIM: u32 = 16u;
override ROWS: u32 = 16u;
override KEYS: u32 = 32u;
override LANES: u32 = 64u;
// One more than a row holds, so that lanes at one column of neighbouring rows meet different banks.
override STRIDE: u32 = DIM + 1u;
override ROW_TILE: u32 = ROWS * DIM;
override KEY_TILE: u32 = KEYS * STRIDE;
override SCORES: u32 = ROWS * KEYS;

const NONE = -3.0e38;

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> queries: array<vec4<f32>>;
// A token's heads; with parts [token][head][part], DIM fours of sums and (maximum, sum of weights).
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

var<workgroup> qs: array<vec4<f32>, ROW_TILE>;
var<workgroup> tile: array<vec4<f32>, KEY_TILE>;
var<workgroup> mixed: array<vec4<f32>, ROW_TILE>;
var<workgroup> weights: array<f32, SCORES>;
// Largest score, sum of weights, and what the old sums shrink by.
var<workgroup> state: array<vec3<f32>, ROWS>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = at.x * ROWS;
    let rows = min(ROWS, p.tokens * p.group - first);
    let head = at.y;
    let first_position = p.start + first / p.group;
    let end_position = p.start + (first + rows - 1u) / p.group + 1u;
    let seen = first_position + 1u - min(first_position + 1u, p.window);
    let begin = seen + at.z * p.span;
    let end = min(end_position, begin + p.span);

    for (var i = lane; i < ROW_TILE; i += LANES) {
        let row = i / DIM;
        mixed[i] = vec4<f32>();
        if row < rows {
            let token = (first + row) / p.group;
            let query_head = head * p.group + (first + row) % p.group;
            qs[i] = p.scale * queries[token * p.q_stride + query_head * DIM + i % DIM];
        }
    }
    for (var i = lane; i < ROWS; i += LANES) {
        state[i] = vec3<f32>(NONE, 0.0, 1.0);
    }
    for (var start = begin; start < end; start += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DIM; i += LANES) {
            let position = start + i / DIM;
            var four = vec4<f32>();
            if position < end {
                four = key_at((position * p.kv_heads + head) * DIM + i % DIM);
            }
            tile[(i / DIM) * STRIDE + i % DIM] = four;
        }
        workgroupBarrier();
        for (var i = lane; i < rows * KEYS; i += LANES) {
            let row = i / KEYS;
            let key = i % KEYS;
            let position = start + key;
            let query = p.start + (first + row) / p.group;
            var score = NONE;
            if position < end && position <= query && query - position < p.window {
                var sum = 0.0;
                for (var d = 0u; d < DIM; d++) {
                    sum += dot(qs[row * DIM + d], tile[key * STRIDE + d]);
                }
                // Beyond 15 tanh is 1 in f32, and drivers differ.
                score = select(sum, p.cap * tanh(clamp(sum / p.cap, -15.0, 15.0)), p.cap > 0.0);
            }
            weights[i] = score;
        }
        workgroupBarrier();
        for (var row = lane; row < rows; row += LANES) {
            var most = state[row].x;
            for (var key = 0u; key < KEYS; key++) {
                most = max(most, weights[row * KEYS + key]);
            }
            var sum = 0.0;
            for (var key = 0u; key < KEYS; key++) {
                let score = weights[row * KEYS + key];
                // A row may see nothing yet: its largest score is then NONE too.
                let weight = select(exp(score - most), 0.0, score == NONE);
                weights[row * KEYS + key] = weight;
                sum += weight;
            }
            let shrink = select(exp(state[row].x - most), 1.0, most == NONE);
            state[row] = vec3<f32>(most, state[row].y * shrink + sum, shrink);
        }
        for (var i = lane; i < KEYS * DIM; i += LANES) {
            let position = start + i / DIM;
            var four = vec4<f32>();
            if position < end {
                four = value_at((position * p.kv_heads + head) * DIM + i % DIM);
            }
            tile[(i / DIM) * STRIDE + i % DIM] = four;
        }
        workgroupBarrier();
        for (var i = lane; i < rows * DIM; i += LANES) {
            let row = i / DIM;
            var sum = mixed[i] * state[row].z;
            for (var key = 0u; key < KEYS; key++) {
                sum += weights[row * KEYS + key] * tile[key * STRIDE + i % DIM];
            }
            mixed[i] = sum;
        }
    }
    workgroupBarrier();
    for (var i = lane; i < rows * DIM; i += LANES) {
        let row = i / DIM;
        let token = (first + row) / p.group;
        let query_head = head * p.group + (first + row) % p.group;
        if p.parts == 1u {
            out[token * p.out_stride + query_head * DIM + i % DIM] = mixed[i] / state[row].y;
        } else {
            let to = ((token * p.kv_heads * p.group + query_head) * p.parts + at.z) * (DIM + 1u);
            out[to + i % DIM] = mixed[i];
            if i % DIM == 0u {
                out[to + DIM] = vec4<f32>(state[row].xy, 0.0, 0.0);
            }
        }
    }
}
