// Puts the parts of attention together: weights of a part shrink by exp(its maximum − the largest).
struct Params {
    heads: u32,
    parts: u32,
    // Distance of tokens in out, in fours.
    out_stride: u32,
}

// Fours of a head.
override DIM: u32 = 16u;

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

// A workgroup takes a head of a token.
@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = at.y;
    let first = (token * p.heads + at.x) * p.parts * (DIM + 1u);
    var most = -3.0e38;
    for (var part = 0u; part < p.parts; part++) {
        most = max(most, partial[first + part * (DIM + 1u) + DIM].x);
    }
    for (var d = lane; d < DIM; d += 32u) {
        var total = 0.0;
        var mixed = vec4<f32>();
        for (var part = 0u; part < p.parts; part++) {
            let origin = first + part * (DIM + 1u);
            let state = partial[origin + DIM];
            let weight = exp(state.x - most);
            total += weight * state.y;
            mixed += weight * partial[origin + d];
        }
        out[token * p.out_stride + at.x * DIM + d] = mixed / total;
    }
}
