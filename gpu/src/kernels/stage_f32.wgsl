// Tiles as they are.
alias Staged = vec4<f32>;

fn stage(value: vec4<f32>) -> Staged {
    return value;
}

fn unstage(staged: Staged) -> vec4<f32> {
    return staged;
}
