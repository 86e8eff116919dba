// y[t] = W·x[t] on cooperative matrices of SIDE by SIDE, f32 sums: four subgroups make a tile of
// 4·SIDE tokens by 4·SIDE rows, each a quarter of it in four accumulators.
const SPAN = 4u * SIDE;
const DEPTH = 2u * SIDE;
// Lanes of a subgroup.
override SUBGROUP: u32 = 32u;
override LANES: u32 = 4u * SUBGROUP;

// [token][column] and [row][column].
var<workgroup> xs: array<Element, SPAN * DEPTH>;
var<workgroup> ws: array<Element, SPAN * DEPTH>;
// [token][row].
var<workgroup> sums: array<f32, SPAN * SPAN>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first_row = group.x * SPAN;
    let first_token = group.y * SPAN;
    let my_token = (subgroup / 2u) * 2u * SIDE;
    let my_row = (subgroup % 2u) * 2u * SIDE;
    let depth_stride = DEPTH;
    let span_stride = SPAN;
    var c00 = Sums();
    var c01 = Sums();
    var c10 = Sums();
    var c11 = Sums();
    for (var chunk = 0u; chunk < p.chunks; chunk += DEPTH / 4u) {
        for (var i = lane; i < SPAN * DEPTH / 4u; i += LANES) {
            let line = i / (DEPTH / 4u);
            let depth = i % (DEPTH / 4u);
            let to = line * DEPTH + depth * 4u;
            let w = w_four(first_row + line, chunk + depth);
            let v = x_four(first_token + line, chunk + depth);
            for (var j = 0u; j < 4u; j++) {
                ws[to + j] = Element(w[j]);
                xs[to + j] = Element(v[j]);
            }
        }
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth += SIDE) {
            let left0 = my_token * DEPTH + depth;
            let left1 = left0 + SIDE * DEPTH;
            let right0 = my_row * DEPTH + depth;
            let right1 = right0 + SIDE * DEPTH;
            let a0 = coopLoadT<Left>(&xs[left0], depth_stride);
            let a1 = coopLoadT<Left>(&xs[left1], depth_stride);
            let b0 = coopLoad<Right>(&ws[right0], depth_stride);
            let b1 = coopLoad<Right>(&ws[right1], depth_stride);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
        }
        workgroupBarrier();
    }
    // naga's SPIR-V writer wants indices and strides by name.
    let at00 = my_token * SPAN + my_row;
    let at01 = at00 + SIDE;
    let at10 = at00 + SIDE * SPAN;
    let at11 = at10 + SIDE;
    coopStoreT(c00, &sums[at00], span_stride);
    coopStoreT(c01, &sums[at01], span_stride);
    coopStoreT(c10, &sums[at10], span_stride);
    coopStoreT(c11, &sums[at11], span_stride);
    workgroupBarrier();
    for (var i = lane; i < SPAN * SPAN; i += LANES) {
        put(first_token + i / SPAN, first_row + i % SPAN, sums[i]);
    }
}
