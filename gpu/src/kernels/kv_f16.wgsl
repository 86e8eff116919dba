@group(0) @binding(1) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> values: array<vec2<u32>>;

fn key_at(at: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(keys[at].x), unpack2x16float(keys[at].y));
}

fn value_at(at: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(values[at].x), unpack2x16float(values[at].y));
}
