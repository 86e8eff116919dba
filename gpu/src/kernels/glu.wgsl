// The inner layer of a feed forward: act(gate) · up, or act(up) without a gate.
struct Params {
    // Fours of all tokens.
    length: u32,
    // 1: gated. 2: GELU by tanh (Hendrycks & Gimpel 2016), else SiLU, x · σ(x).
    flags: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

fn activate(x: vec4<f32>) -> vec4<f32> {
    if (p.flags & 2u) != 0u {
        let inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
        // Beyond 15 tanh is 1 in f32, and drivers differ.
        return 0.5 * x * (1.0 + tanh(clamp(inner, vec4<f32>(-15.0), vec4<f32>(15.0))));
    }
    // exp of more than 88 is infinite, whose quotient drivers may make NaN of.
    return x / (1.0 + exp(min(-x, vec4<f32>(88.0))));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * 64u;
    if i >= p.length {
        return;
    }
    if (p.flags & 1u) != 0u {
        out[i] = activate(gate[i]) * up[i];
    } else {
        out[i] = activate(up[i]);
    }
}
