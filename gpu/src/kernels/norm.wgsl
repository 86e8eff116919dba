// Normalises rows: x / sqrt(mean(x²) + ε) · w (RMS), or with the mean taken off first and a bias
// added (layer). A workgroup takes a row.
struct Params {
    rows: u32,
    width: u32,
    // Rows of a token (its heads, or one), and the distance of tokens in x and y.
    per_token: u32,
    x_stride: u32,
    y_stride: u32,
    epsilon: f32,
    // 1: layer. 2: bias. 4: add to what y holds.
    flags: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    thread: Thread,
) {
    let row = group.x + group.y * groups.x;
    if row >= p.rows {
        return;
    }
    let head = (row % p.per_token) * p.width;
    let origin = (row / p.per_token) * p.x_stride + head;
    let to = (row / p.per_token) * p.y_stride + head;
    var mean = 0.0;
    if (p.flags & 1u) != 0u {
        var sum = 0.0;
        for (var i = thread.lane; i < p.width; i += LANES) {
            sum += x[origin + i];
        }
        mean = sum_all(thread, vec4<f32>(sum)).x / f32(p.width);
    }
    var squares = 0.0;
    for (var i = thread.lane; i < p.width; i += LANES) {
        let centred = x[origin + i] - mean;
        squares += centred * centred;
    }
    let scale = 1.0 / sqrt(sum_all(thread, vec4<f32>(squares)).x / f32(p.width) + p.epsilon);
    for (var i = thread.lane; i < p.width; i += LANES) {
        var out = (x[origin + i] - mean) * scale * weight[i];
        if (p.flags & 2u) != 0u {
            out += bias[i];
        }
        if (p.flags & 4u) != 0u {
            out += y[to + i];
        }
        y[to + i] = out;
    }
}
