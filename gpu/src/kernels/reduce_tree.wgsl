// Sums and maxima over a workgroup of a power of two of lanes, without subgroups.
override LANES: u32 = 64u;

struct Thread {
    @builtin(local_invocation_index) lane: u32,
}

var<workgroup> partial: array<vec4<f32>, LANES>;

fn sum_all(thread: Thread, value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    partial[thread.lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if thread.lane < half {
            partial[thread.lane] += partial[thread.lane + half];
        }
        workgroupBarrier();
    }
    return partial[0];
}

fn max_all(thread: Thread, value: f32) -> f32 {
    workgroupBarrier();
    partial[thread.lane].x = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if thread.lane < half {
            partial[thread.lane].x = max(partial[thread.lane].x, partial[thread.lane + half].x);
        }
        workgroupBarrier();
    }
    return partial[0].x;
}
