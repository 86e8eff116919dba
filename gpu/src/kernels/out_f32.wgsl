@group(0) @binding(2) var<storage, read_write> out: array<vec2<f32>>;

fn put(at: u32, pair: vec2<f32>) {
    out[at] = pair;
}
