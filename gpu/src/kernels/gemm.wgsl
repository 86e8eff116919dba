// y[t] = W·x[t]: a workgroup makes a tile of 4·ACROSS rows by 4·DOWN tokens from tiles of DEPTH
// columns in workgroup memory, each thread four by four of it in registers.
override ACROSS: u32 = 16u;
override DOWN: u32 = 16u;
// Columns of a tile, in fours.
const DEPTH = 4u;
override W_TILE: u32 = 4u * ACROSS * DEPTH;
override X_TILE: u32 = 4u * DOWN * DEPTH;

// [chunk][row] and [chunk][token], so that neighbouring threads read neighbours.
var<workgroup> ws: array<Staged, W_TILE>;
var<workgroup> xs: array<Staged, X_TILE>;

@compute @workgroup_size(ACROSS, DOWN)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) at: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_row = group.x * 4u * ACROSS;
    let first_token = group.y * 4u * DOWN;
    // One sum a token (the vector) and row (its component).
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var chunk = 0u; chunk < p.chunks; chunk += DEPTH) {
        for (var i = lane; i < W_TILE; i += ACROSS * DOWN) {
            // Neighbouring threads take neighbouring columns of a row.
            let row = i / DEPTH;
            let depth = i % DEPTH;
            ws[depth * 4u * ACROSS + row] = stage(w_four(first_row + row, chunk + depth));
        }
        for (var i = lane; i < X_TILE; i += ACROSS * DOWN) {
            let token = i / DEPTH;
            let depth = i % DEPTH;
            xs[depth * 4u * DOWN + token] = stage(x_four(first_token + token, chunk + depth));
        }
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth++) {
            let w = depth * 4u * ACROSS + at.x;
            let w0 = unstage(ws[w]);
            let w1 = unstage(ws[w + ACROSS]);
            let w2 = unstage(ws[w + 2u * ACROSS]);
            let w3 = unstage(ws[w + 3u * ACROSS]);
            let t = depth * 4u * DOWN + at.y;
            let x0 = unstage(xs[t]);
            let x1 = unstage(xs[t + DOWN]);
            let x2 = unstage(xs[t + 2u * DOWN]);
            let x3 = unstage(xs[t + 3u * DOWN]);
            sum0 += vec4<f32>(dot(w0, x0), dot(w1, x0), dot(w2, x0), dot(w3, x0));
            sum1 += vec4<f32>(dot(w0, x1), dot(w1, x1), dot(w2, x1), dot(w3, x1));
            sum2 += vec4<f32>(dot(w0, x2), dot(w1, x2), dot(w2, x2), dot(w3, x2));
            sum3 += vec4<f32>(dot(w0, x3), dot(w1, x3), dot(w2, x3), dot(w3, x3));
        }
        workgroupBarrier();
    }
    let token = first_token + at.y;
    let row = first_row + at.x;
    for (var j = 0u; j < 4u; j++) {
        put(token, row + j * ACROSS, sum0[j]);
        put(token + DOWN, row + j * ACROSS, sum1[j]);
        put(token + 2u * DOWN, row + j * ACROSS, sum2[j]);
        put(token + 3u * DOWN, row + j * ACROSS, sum3[j]);
    }
}
