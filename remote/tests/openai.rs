//! Servers that keep to their protocols, in every dialect.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use engine::{EngineOptions, EngineSpec, FailureKind, Model, ModelArtifact, Predictions, Prompt};
use harness_remote::OpenAi;
use serde_json::json;
use server::{Reply, Request, Server, bigram};

const PROMPT: Prompt<'_> = Prompt {
    tokens: &[3, 1, 4],
    text: "abc",
    max_tokens: 3,
    past_end: true,
};

fn answer(model: &dyn Model) -> (Vec<u32>, String, engine::Answer) {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let answer = model.generate(&PROMPT, &mut |piece| {
        tokens.extend_from_slice(piece.tokens);
        text.push_str(piece.text);
    });
    (tokens, text, answer.unwrap())
}

#[test]
fn a_server_of_llama_cpps_ways_conforms() {
    let server = Server::llama(bigram);
    let spec = format!("openai:url=http://{}/v1", server.address);
    let options: EngineOptions = spec.parse::<EngineSpec>().unwrap().options;
    let model = ModelArtifact::embedded("served", b"GGUF");
    let report = engine::conformance::check(&OpenAi, &model, &options).unwrap();
    assert!(report.passed(), "{report}");
    for check in [
        "scores_are_repeatable",
        "unscorable_text_is_refused",
        "answers_are_the_most_probable",
    ] {
        assert!(
            report.to_string().contains(&format!("pass  {check}")),
            "{report}"
        );
    }
}

#[test]
fn llama_server_is_asked_token_by_token_and_streams_ids() {
    let server = Server::llama(bigram);
    let model = server.open("").unwrap();
    assert_eq!(model.predictions(), Predictions::Scores { top: 20 });
    assert_eq!((model.config().vocab, model.config().context), (16, 64));
    let scores = model.score(&[1, 2, 3, 4], 2, 3).unwrap();
    assert_eq!(scores.len(), 2);
    assert_eq!(scores[0].top.len(), 3);
    let (tokens, text, answer) = answer(&*model);
    assert_eq!((tokens.len(), &*text), (3, "xxx"));
    assert_eq!(
        (answer.prompt_tokens, answer.answer_tokens),
        (Some(3), Some(3))
    );
    let way = answer.transport.unwrap();
    assert_eq!(way.engine_prompt_ns, Some(500_000));
    assert_eq!(way.engine_answer_ns, Some(1_500_000));
    assert!(way.received_bytes > 0 && way.whole_ns >= way.first_byte_ns);
    let asked = server.requests();
    let prompts: Vec<_> = asked[1..3]
        .iter()
        .map(|r| r.body["prompt"].clone())
        .collect();
    assert_eq!(prompts, [json!([1, 2]), json!([1, 2, 3])]);
    // What was read before may be used for scores, and never for times.
    assert_eq!(asked[1].body["cache_prompt"], true);
    assert_eq!(asked[3].body["cache_prompt"], false);
}

#[test]
fn vllm_tells_prompt_logprobs_at_once_and_streams_ids() {
    let server = Server::vllm(|request: &Request| {
        if request.body["stream"] == true {
            let event = |id: u32, reason: Option<&str>| json!({"choices": [{"text": "y", "token_ids": [id], "finish_reason": reason}]});
            let usage =
                json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 3}});
            let events = [
                event(5, None),
                event(6, None),
                event(7, Some("length")),
                usage,
            ];
            let mut events: Vec<String> = events.iter().map(ToString::to_string).collect();
            events.push("[DONE]".into());
            return Reply::Events(events);
        }
        let place = |id: &str| json!({id: {"logprob": -0.7}, "9": {"logprob": -0.6}});
        Reply::ok(json!({"choices": [{"prompt_logprobs": [null, place("2"), place("3")]}]}))
    });
    let model = server.open(",served=m").unwrap();
    let scores = model.score(&[1, 2, 3], 1, 1).unwrap();
    assert_eq!(scores[1].log_probability, -0.7);
    assert_eq!(scores[1].top, [(9, -0.6)]);
    let (tokens, text, answer) = answer(&*model);
    assert_eq!((tokens, &*text), (vec![5, 6, 7], "yyy"));
    assert!(!answer.ended);
    assert_eq!(answer.answer_tokens, Some(3));
    let asked = server.requests();
    assert_eq!(asked[1].body["prompt_logprobs"], 1);
    assert_eq!(asked[2].body["ignore_eos"], true);
    let salts = [&asked[2].body["cache_salt"], {
        let _ = answer_again(&*model);
        &server.requests()[3].body["cache_salt"].clone()
    }];
    assert_ne!(
        salts[0], salts[1],
        "no prompt is answered from another's cache"
    );
}

fn answer_again(model: &dyn Model) -> engine::Answer {
    answer(model).2
}

#[test]
fn an_unknown_server_is_tried_for_echoes() {
    let models = || Reply::ok(json!({"data": [{"id": "m"}]}));
    let echoing = Server::start(move |request| match request.path.as_str() {
        "/v1/models" => models(),
        "/v1/completions" => {
            let n = request.body["prompt"].as_array().unwrap().len();
            let mut values = vec![json!(-1.25); n + 1];
            values[0] = json!(null);
            Reply::ok(json!({"choices": [{"logprobs": {"token_logprobs": values}}]}))
        }
        _ => Reply::Json(404, "{}".into()),
    });
    let model = echoing.open("").unwrap();
    assert_eq!(model.predictions(), Predictions::Scores { top: 0 });
    let scores = model.score(&[1, 2, 3], 1, 0).unwrap();
    assert_eq!(scores.len(), 2);
    let many = model.score(&[1, 2, 3], 1, 1).unwrap_err();
    assert_eq!(
        many.kind(),
        FailureKind::InvalidInput,
        "no tokens are made up"
    );

    let mute = Server::start(move |request| match request.path.as_str() {
        "/v1/models" => models(),
        _ => Reply::Json(404, "{}".into()),
    });
    let model = mute.open("").unwrap();
    assert!(matches!(model.predictions(), Predictions::Choices { .. }));
    let error = model.score(&[1, 2], 1, 0).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unsupported);
}

#[test]
fn ollama_is_given_text_and_chats_are_too() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v1/models" => Reply::ok(json!({"data": [{"id": "m", "owned_by": "library"}]})),
        "/v1/chat/completions" => Reply::Events(vec![
            json!({"choices": [{"delta": {"content": "chat"}}]}).to_string(),
            json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string(),
            "[DONE]".into(),
        ]),
        _ => Reply::Events(vec![
            json!({"choices": [{"text": "text", "finish_reason": "stop"}]}).to_string(),
            "[DONE]".into(),
        ]),
    });
    let model = server.open("").unwrap();
    assert!(matches!(model.predictions(), Predictions::Choices { .. }));
    let (tokens, text, written) = answer(&*model);
    assert_eq!((tokens, &*text, written.ended), (vec![], "text", true));
    let chat = server.open(",api=chat").unwrap();
    assert_eq!(answer(&*chat).1, "chat");
    let asked = server.requests();
    assert_eq!(asked[1].body["prompt"], "abc");
    let message = json!([{"role": "user", "content": "abc"}]);
    assert_eq!(asked.last().unwrap().body["messages"], message);
}

#[test]
fn a_model_that_is_not_served_is_refused_with_those_that_are() {
    let server = Server::llama(bigram);
    let error = server.open(",served=other").err().unwrap();
    assert_eq!(error.kind(), FailureKind::InvalidInput);
    assert!(error.to_string().contains("it has m"), "{error}");
}
