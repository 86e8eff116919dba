// Tiles rounded to f16; products and sums stay in f32.
alias Staged = vec2<u32>;

fn stage(value: vec4<f32>) -> Staged {
    return vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));
}

fn unstage(staged: Staged) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(staged.x), unpack2x16float(staged.y));
}
