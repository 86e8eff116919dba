@group(0) @binding(1) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> values: array<vec4<f32>>;

fn key_at(at: u32) -> vec4<f32> {
    return keys[at];
}

fn value_at(at: u32) -> vec4<f32> {
    return values[at];
}
