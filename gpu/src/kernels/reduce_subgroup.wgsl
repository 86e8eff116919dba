// Sums and maxima over a workgroup: first within subgroups, then over theirs.
override LANES: u32 = 64u;

struct Thread {
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}

var<workgroup> partial: array<vec4<f32>, LANES>;

fn sum_all(thread: Thread, value: vec4<f32>) -> vec4<f32> {
    let part = subgroupAdd(value);
    workgroupBarrier();
    if thread.subgroup_lane == 0u {
        partial[thread.subgroup] = part;
    }
    workgroupBarrier();
    var total = partial[0];
    for (var i = 1u; i < thread.subgroups; i++) {
        total += partial[i];
    }
    return total;
}

fn max_all(thread: Thread, value: f32) -> f32 {
    let part = subgroupMax(value);
    workgroupBarrier();
    if thread.subgroup_lane == 0u {
        partial[thread.subgroup].x = part;
    }
    workgroupBarrier();
    var most = partial[0].x;
    for (var i = 1u; i < thread.subgroups; i++) {
        most = max(most, partial[i].x);
    }
    return most;
}
