// Multiplications and additions in registers, eight independent chains of four a thread, each the
// round after round of x·factor + addend. With both factors one, a value gains one a round.
struct Params {
    rounds: u32,
    factor: f32,
    addend: f32,
}

override LANES: u32 = 256u;

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let factor = vec4<f32>(p.factor);
    let addend = vec4<f32>(p.addend);
    // Of different values, or a compiler may compute one chain for all.
    let x0 = f32(lane) + vec4<f32>(0.0, 1.0, 2.0, 3.0);
    let x1 = x0 + 4.0;
    let x2 = x0 + 8.0;
    let x3 = x0 + 12.0;
    let x4 = x0 + 16.0;
    let x5 = x0 + 20.0;
    let x6 = x0 + 24.0;
    let x7 = x0 + 28.0;
    var y0 = x0;
    var y1 = x1;
    var y2 = x2;
    var y3 = x3;
    var y4 = x4;
    var y5 = x5;
    var y6 = x6;
    var y7 = x7;
    for (var round = 0u; round < p.rounds; round++) {
        y0 = fma(y0, factor, addend);
        y1 = fma(y1, factor, addend);
        y2 = fma(y2, factor, addend);
        y3 = fma(y3, factor, addend);
        y4 = fma(y4, factor, addend);
        y5 = fma(y5, factor, addend);
        y6 = fma(y6, factor, addend);
        y7 = fma(y7, factor, addend);
    }
    let gained = (y0 - x0) + (y1 - x1) + (y2 - x2) + (y3 - x3)
        + (y4 - x4) + (y5 - x5) + (y6 - x6) + (y7 - x7);
    // What each has gained: sums of whole numbers, exact in any order.
    y[group.x * LANES + lane] = dot(gained, vec4<f32>(1.0)) / 32.0;
}
