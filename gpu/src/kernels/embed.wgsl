// Rows of a table: of the tokens' ids, or of their positions.
struct Params {
    tokens: u32,
    // Rows of this part of the table, and how many come before it.
    rows: u32,
    first_row: u32,
    // Half-words of a row.
    row_halves: u32,
    // Values of a row, in fours, and the distance of tokens in out.
    chunks: u32,
    out_stride: u32,
    // Position of the first token.
    start: u32,
    // 1: by position, added to what out holds.
    flags: u32,
    scale: f32,
}

var<immediate> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    if i >= p.tokens * p.chunks {
        return;
    }
    let token = i / p.chunks;
    let chunk = i % p.chunks;
    let by_position = (p.flags & 1u) != 0u;
    let row = select(ids[token], p.start + token, by_position);
    if row < p.first_row || row >= p.first_row + p.rows {
        return;
    }
    let value = p.scale * four((row - p.first_row) * p.row_halves, chunk * 4u);
    let to = token * p.out_stride + chunk;
    out[to] = select(value, value + out[to], by_position);
}
