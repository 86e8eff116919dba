// Rotates the heads of tokens and stores them as rows: pair (a, b) becomes
// (a·cos − b·sin, a·sin + b·cos). Without rotated dimensions it only stores. A thread makes two
// neighbouring dimensions, which are a pair or belong to two.
struct Params {
    tokens: u32,
    // Values of a token, of a head, and how many of a head's are rotated.
    width: u32,
    dim: u32,
    rotated: u32,
    // Pairs are i and i + rotated / 2 if 1, 2i and 2i + 1 if 0.
    halves: u32,
    // Distance of tokens in x and out, and the first value in out.
    x_stride: u32,
    out_stride: u32,
    out_first: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
// Cosine and sine: [token][pair].
@group(0) @binding(1) var<storage, read> angles: array<vec2<f32>>;

fn turned(token: u32, head: u32, d: u32) -> f32 {
    let value = x[head + d];
    if d >= p.rotated {
        return value;
    }
    let pairs = p.rotated / 2u;
    var pair: u32;
    var second: bool;
    var other: u32;
    if p.halves == 1u {
        second = d >= pairs;
        pair = select(d, d - pairs, second);
        other = select(d + pairs, pair, second);
    } else {
        second = (d & 1u) == 1u;
        pair = d >> 1u;
        other = d ^ 1u;
    }
    let angle = angles[token * pairs + pair];
    let partner = x[head + other];
    return select(value * angle.x - partner * angle.y, partner * angle.y + value * angle.x, second);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    let twos = p.width / 2u;
    if i >= p.tokens * twos {
        return;
    }
    let token = i / twos;
    let value = (i % twos) * 2u;
    let head = token * p.x_stride + (value / p.dim) * p.dim;
    let d = value % p.dim;
    let pair = vec2<f32>(turned(token, head, d), turned(token, head, d + 1u));
    put((p.out_first + token * p.out_stride + value) / 2u, pair);
}
