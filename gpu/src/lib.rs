//! Language models on a GPU: WGSL kernels through wgpu, which is Metal on macOS and Vulkan elsewhere.
