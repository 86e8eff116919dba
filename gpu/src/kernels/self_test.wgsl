// Counts to `limit` one by one, in a way that no compiler shortens: Mesa's lavapipe before 25 ends
// every loop after 65,535 iterations.
struct Params {
    limit: u32,
    factor: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> result: array<u32>;

@compute @workgroup_size(1)
fn main() {
    var state = 1u;
    var count = 0u;
    while count < p.limit {
        state = state * p.factor + 1u;
        count += 1u;
    }
    result[0] = count;
    result[1] = state;
}
