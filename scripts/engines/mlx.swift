// A sketch of an engine over MLX, by the packages mlx-swift and mlx-swift-examples (MLXLMCommon,
// MLXLLM). UNTESTED: it was written on a machine without Swift and has never been compiled or run.
//
// Put it into the executable target of a package that depends on both, then
//
//     harness conformance --model folder --engine 'stdio:command=.build/release/mlx-engine'
//
// where `folder` is a Hugging Face folder that MLX can load. The loop is that of
// coreml_mlstate.swift; only what is MLX's is here.

import Foundation
import MLX
import MLXLLM
import MLXLMCommon

final class Session {
    var cache: [KVCache]
    var length = 0
    init(_ model: any LanguageModel) { cache = model.newCache(parameters: nil) }
}

/// What the loop of coreml_mlstate.swift needs of a model.
final class MLXEngine {
    let model: any LanguageModel
    let vocab: Int

    init(path: String, vocab: Int) async throws {
        let configuration = ModelConfiguration(directory: URL(fileURLWithPath: path))
        let container = try await LLMModelFactory.shared.loadContainer(configuration: configuration)
        model = await container.perform { $0.model }
        self.vocab = vocab
    }

    /// Appends `tokens`; the logits of the last `rows` of them, as little-endian floats.
    func extend(_ session: Session, _ tokens: [Int32], rows: Int) -> (Data, UInt64) {
        let begun = DispatchTime.now().uptimeNanoseconds
        let input = MLXArray(tokens).reshaped([1, tokens.count])
        var logits = model(input, cache: session.cache)  // [1, n, vocab]
        logits = logits[0, (tokens.count - rows)...].asType(.float32)
        // MLX computes when it must: without this the time would be that of building a graph.
        eval(logits, session.cache.flatMap { $0.state })
        session.length += tokens.count
        let spent = DispatchTime.now().uptimeNanoseconds - begun
        let values = rows == 0 ? [] : logits.asArray(Float.self)
        return (values.withUnsafeBufferPointer { Data(buffer: $0) }, spent)
    }

    func truncate(_ session: Session, to length: Int) {
        for cache in session.cache { cache.trim(session.length - length) }
        session.length = length
    }

    /// [{reserved_bytes, used_bytes}] of every layer: arrays grow in steps, so more is reserved.
    func kv(_ session: Session) -> [[String: Int]] {
        session.cache.map { cache in
            let reserved = cache.state.reduce(0) { $0 + $1.nbytes }
            let held = cache.state.first?.dim(2) ?? 0
            let used = held == 0 ? 0 : reserved * session.length / max(held, session.length)
            return ["reserved_bytes": reserved, "used_bytes": used]
        }
    }
}
