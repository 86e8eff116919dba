@group(0) @binding(2) var<storage, read_write> out: array<u32>;

fn put(at: u32, pair: vec2<f32>) {
    out[at] = pack2x16float(pair);
}
