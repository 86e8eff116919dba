// A sketch of an engine over Core ML with a stateful KV cache (MLState). UNTESTED: it was written
// on a machine without Swift and has never been compiled or run.
//
//     swiftc -O -parse-as-library scripts/engines/coreml_mlstate.swift -o coreml-engine   # macOS 15
//     harness conformance --model model.gguf \
//         --engine 'stdio:command=./coreml-engine model.mlpackage,context=512'
//
// Expects a decoder as coremltools writes it: inputs `input_ids` [1, n] (Int32) and `causal_mask`
// [1, 1, n, end] (Float16), output `logits` [1, n, vocab] (Float16 or Float32), states for keys and
// values. Core ML cannot shorten a state, so `truncate` reads the tokens that stay once more; its
// time is not charged to the engine, as truncation reports none.

import CoreML
import Foundation

struct Request: Decodable {
    let id: Int
    let op: String
    let session: Int?
    let tokens: [Int32]?
    let want: String?
    let len: Int?
    let options: [String: String]?
}

struct Refusal: Error { let kind: String, message: String }

final class Session {
    let state: MLState
    var tokens: [Int32] = []
    init(_ model: MLModel) { state = model.makeState() }
}

@main
struct Engine {
    static func main() throws {
        // What a library prints must not get between the lines.
        let output = FileHandle(fileDescriptor: dup(1))
        dup2(2, 1)
        var engine = Engine()
        while let line = readLine(strippingNewline: true) {
            let request = try JSONDecoder().decode(Request.self, from: Data(line.utf8))
            if request.op == "shutdown" { break }
            var reply: [String: Any]
            do {
                reply = try engine.answer(request)
            } catch let refusal as Refusal {
                reply = ["error": ["kind": refusal.kind, "message": refusal.message]]
            } catch {
                reply = ["error": ["kind": "device", "message": "\(error)"]]
            }
            reply["id"] = request.id
            var data = try JSONSerialization.data(withJSONObject: reply)
            data.append(0x0A)
            output.write(data)
        }
    }

    var model: MLModel!
    var sessions: [Int: Session] = [:]
    var vocab = 0, context = 0, last = 0

    mutating func answer(_ request: Request) throws -> [String: Any] {
        switch request.op {
        case "hello":
            return [
                "protocol": 1,
                "engine": ["id": "coreml-mlstate", "version": "0", "device": "Core ML, all units"],
                "capabilities": ["full_logits", "all_logits", "concurrent_sessions"],
                "options": [["key": "context", "default": "512", "help": "longest context"]],
            ]
        case "open":
            let configuration = MLModelConfiguration()
            configuration.computeUnits = .all
            let package = URL(fileURLWithPath: CommandLine.arguments[1])
            model = try MLModel(contentsOf: MLModel.compileModel(at: package), configuration: configuration)
            context = Int(request.options?["context"] ?? "512") ?? 512
            let shape = model.modelDescription.outputDescriptionsByName["logits"]?.multiArrayConstraint?.shape
            vocab = shape?.last?.intValue ?? 0
            // The rest is the model's; fill in what the converter knew.
            return [
                "config": [
                    "architecture": "llama", "layers": 1, "hidden": 1, "feed_forward": 1, "heads": 1,
                    "kv_heads": 1, "head_dim": 1, "parameters": 0, "vocab": vocab, "context": context,
                ],
                "numerics": ["weights": "f16", "activations": "f16", "kv": "f16"],
            ]
        case "session":
            last += 1
            sessions[last] = Session(model)
            return ["session": last]
        case "extend":
            let session = try find(request)
            let tokens = request.tokens ?? []
            guard !tokens.isEmpty, tokens.allSatisfy({ $0 >= 0 && $0 < vocab }),
                session.tokens.count + tokens.count <= context
            else { throw Refusal(kind: "invalid_input", message: "no such tokens, or no room") }
            let begun = DispatchTime.now().uptimeNanoseconds
            let logits = try read(tokens, session)
            let spent = DispatchTime.now().uptimeNanoseconds - begun
            let rows = request.want == "none" ? 0 : request.want == "last" ? 1 : tokens.count
            let values = logits.suffix(rows * vocab)
            let data = values.withUnsafeBufferPointer { Data(buffer: $0) }
            return ["len": session.tokens.count, "compute_ns": spent, "logits": data.base64EncodedString()]
        case "truncate":
            let session = try find(request)
            let length = request.len ?? 0
            guard length <= session.tokens.count else {
                throw Refusal(kind: "invalid_input", message: "longer than the context")
            }
            let fresh = Session(model)
            if length > 0 { _ = try read(Array(session.tokens.prefix(length)), fresh) }
            sessions[request.session!] = fresh
            return ["len": length]
        case "close":
            sessions[request.session ?? 0] = nil
            return [:]
        default:
            throw Refusal(kind: "unsupported", message: request.op)
        }
    }

    func find(_ request: Request) throws -> Session {
        guard let session = sessions[request.session ?? 0] else {
            throw Refusal(kind: "invalid_input", message: "no such session")
        }
        return session
    }

    /// Appends `tokens` and returns the logits of all of them.
    func read(_ tokens: [Int32], _ session: Session) throws -> ContiguousArray<Float> {
        let count = tokens.count, end = session.tokens.count + count
        let ids = MLShapedArray<Int32>(scalars: tokens, shape: [1, count])
        var mask = MLShapedArray<Float16>(repeating: 0, shape: [1, 1, count, end])
        for row in 0..<count {
            for column in (session.tokens.count + row + 1)..<max(end, session.tokens.count + row + 1) {
                mask[scalarAt: 0, 0, row, column] = -.infinity
            }
        }
        let inputs = try MLDictionaryFeatureProvider(dictionary: [
            "input_ids": MLFeatureValue(shapedArray: ids), "causal_mask": MLFeatureValue(shapedArray: mask),
        ])
        let output = try model.prediction(from: inputs, using: session.state)
        guard let logits = output.featureValue(for: "logits")?.shapedArrayValue(of: Float.self) else {
            throw Refusal(kind: "device", message: "no output `logits`")
        }
        session.tokens += tokens
        return ContiguousArray(logits.scalars)
    }
}
