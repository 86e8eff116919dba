//! What servers answer, read with suspicion.

use engine::{Scores, TokenId};
use serde_json::Value;

/// An answer that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// It is not what it should be.
    #[error("{0}")]
    Protocol(String),
    /// A log-probability that is no number.
    #[error("{0}")]
    Numerics(String),
    /// The server says that it failed.
    #[error("the server failed: {0}")]
    Failed(String),
}

fn broken<T>(what: impl Into<String>) -> Result<T, WireError> {
    Err(WireError::Protocol(what.into()))
}

/// `ln` of the least f32 above zero. Servers that compute probabilities in f32 lose what
/// is below, and tell the most negative number they have instead.
const LEAST: f64 = -103.278_929_903_431_85;

/// The JSON object in `body`.
pub(crate) fn object(body: &[u8]) -> Result<Value, WireError> {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return broken(format!("an answer that is no JSON: {error}")),
    };
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        let message = error.get("message").unwrap_or(error);
        let text = match message.as_str() {
            Some(text) => text.to_owned(),
            None => message.to_string(),
        };
        return Err(WireError::Failed(text.chars().take(300).collect()));
    }
    match value.is_object() {
        true => Ok(value),
        false => broken("an answer that is no JSON object"),
    }
}

fn number(value: Option<&Value>, what: &str) -> Result<f64, WireError> {
    match value.and_then(Value::as_f64) {
        // JSON has no NaN: serializers write null instead.
        None => Err(WireError::Numerics(format!("{what} is no number"))),
        Some(value) => Ok(value.max(LEAST)),
    }
}

fn token(value: Option<&Value>) -> Result<TokenId, WireError> {
    let id = value.and_then(Value::as_u64);
    match id.and_then(|id| TokenId::try_from(id).ok()) {
        Some(id) => Ok(id),
        None => broken("a token without an id"),
    }
}

fn array<'a>(value: &'a Value, pointer: &str) -> Result<&'a [Value], WireError> {
    match value.pointer(pointer).and_then(Value::as_array) {
        Some(array) => Ok(array),
        None => broken(format!("an answer without {pointer}")),
    }
}

/// Sorts by probability; of equals the lower id comes first.
fn ranked(mut top: Vec<(TokenId, f64)>) -> Vec<(TokenId, f64)> {
    top.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    top
}

/// llama-server's answer to a request for one token that was forced to be `target`.
pub(crate) fn forced(answer: &Value, target: TokenId, top: usize) -> Result<Scores, WireError> {
    let [step] = array(answer, "/completion_probabilities")? else {
        return broken("probabilities of other than the one token asked for");
    };
    let got = token(step.get("id"))?;
    if got != target {
        return broken(format!("token {got} where {target} was forced"));
    }
    let mut listed = Vec::new();
    if top > 0 {
        for other in array(step, "/top_logprobs")?.iter().take(top) {
            let value = number(other.get("logprob"), "a log-probability")?;
            listed.push((token(other.get("id"))?, value));
        }
    }
    Ok(Scores {
        log_probability: number(step.get("logprob"), "a log-probability")?,
        top: ranked(listed),
    })
}

/// vLLM's `prompt_logprobs`: for each token of the prompt an object that has the `top`
/// most probable ids and the token's own.
pub(crate) fn prompt_logprobs(
    answer: &Value,
    tokens: &[TokenId],
    from: usize,
    top: usize,
) -> Result<Vec<Scores>, WireError> {
    let places = array(answer, "/choices/0/prompt_logprobs")?;
    if places.len() != tokens.len() {
        return broken(format!(
            "log-probabilities of {} tokens where {} were read",
            places.len(),
            tokens.len()
        ));
    }
    let mut scores = Vec::with_capacity(tokens.len() - from);
    for (place, own) in places.iter().zip(tokens).skip(from) {
        let Some(place) = place.as_object() else {
            return broken("a token without log-probabilities");
        };
        let (mut all, mut mine) = (Vec::with_capacity(place.len()), None);
        for (id, value) in place {
            let Ok(id) = id.parse::<TokenId>() else {
                return broken("a log-probability of what is no token id");
            };
            let value = number(value.get("logprob"), "a log-probability")?;
            if id == *own {
                mine = Some(value);
            }
            all.push((id, value));
        }
        let Some(log_probability) = mine else {
            return broken(format!("no log-probability of token {own}, which was read"));
        };
        let mut listed = ranked(all);
        listed.truncate(top);
        scores.push(Scores {
            log_probability,
            top: listed,
        });
    }
    Ok(scores)
}

/// The older `logprobs` of a prompt that is echoed: one number a token, none for the
/// first.
pub(crate) fn echoed(
    answer: &Value,
    tokens: &[TokenId],
    from: usize,
) -> Result<Vec<Scores>, WireError> {
    let values = array(answer, "/choices/0/logprobs/token_logprobs")?;
    // One more was generated, as not every server allows for none.
    if !(tokens.len()..=tokens.len() + 1).contains(&values.len()) {
        return broken(format!(
            "log-probabilities of {} tokens where {} were read",
            values.len(),
            tokens.len()
        ));
    }
    let own = values[from..tokens.len()].iter();
    own.map(|value| {
        Ok(Scores {
            log_probability: number(Some(value), "a log-probability")?,
            top: Vec::new(),
        })
    })
    .collect()
}

/// An event of a streamed answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delta {
    /// Tokens, as far as their ids are told.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) text: String,
    /// Whether the answer is over, and if so whether the model ended it.
    pub(crate) finished: Option<bool>,
    pub(crate) prompt_tokens: Option<usize>,
    pub(crate) answer_tokens: Option<usize>,
    /// Milliseconds that the engine took, for the prompt and for the answer.
    pub(crate) timings_ms: Option<(f64, f64)>,
}

/// An event of llama-server's own `/completion`.
pub(crate) fn llama_event(data: &str) -> Result<Delta, WireError> {
    let event = object(data.as_bytes())?;
    let Some(text) = event.get("content").and_then(Value::as_str) else {
        return broken("an event without content");
    };
    let ids = event.get("tokens").and_then(Value::as_array);
    let tokens = ids.into_iter().flatten().map(|id| token(Some(id)));
    let over = event.get("stop").and_then(Value::as_bool) == Some(true);
    let by_model = event.get("stop_type").and_then(Value::as_str) != Some("limit");
    let count = |name| count(event.get(name));
    let ms = |name| {
        let value = event.pointer(name).and_then(Value::as_f64);
        value.filter(|ms| ms.is_finite() && *ms >= 0.0)
    };
    Ok(Delta {
        tokens: tokens.collect::<Result<_, _>>()?,
        text: text.into(),
        finished: over.then_some(by_model),
        prompt_tokens: over.then(|| count("tokens_evaluated")).flatten(),
        answer_tokens: over.then(|| count("tokens_predicted")).flatten(),
        timings_ms: ms("/timings/prompt_ms").zip(ms("/timings/predicted_ms")),
    })
}

/// An event of `/v1/completions` or `/v1/chat/completions`.
pub(crate) fn openai_event(data: &str) -> Result<Delta, WireError> {
    let event = object(data.as_bytes())?;
    let mut delta = Delta::default();
    if let Some(usage) = event.get("usage").filter(|usage| usage.is_object()) {
        delta.prompt_tokens = count(usage.get("prompt_tokens"));
        delta.answer_tokens = count(usage.get("completion_tokens"));
    }
    // The last event may have usage and no choices.
    let choices = event.get("choices").and_then(Value::as_array);
    let Some(choice) = choices.and_then(|choices| choices.first()) else {
        return Ok(delta);
    };
    let text = [
        "/text",
        "/delta/content",
        "/delta/reasoning_content",
        "/delta/reasoning",
    ]
    .iter()
    .find_map(|pointer| choice.pointer(pointer)?.as_str());
    delta.text = text.unwrap_or_default().into();
    delta.finished = match choice.get("finish_reason") {
        None | Some(Value::Null) => None,
        Some(reason) => Some(reason.as_str() != Some("length")),
    };
    if let Some(ids) = choice.get("token_ids").and_then(Value::as_array) {
        delta.tokens = ids
            .iter()
            .map(|id| token(Some(id)))
            .collect::<Result<_, _>>()?;
    } else if let Some(names) = choice.pointer("/logprobs/tokens").and_then(Value::as_array) {
        // vLLM's return_tokens_as_token_ids; other servers write the text here.
        let ids = names
            .iter()
            .map(|name| name.as_str()?.strip_prefix("token_id:")?.parse().ok());
        delta.tokens = ids.collect::<Option<_>>().unwrap_or_default();
    }
    Ok(delta)
}

fn count(value: Option<&Value>) -> Option<usize> {
    usize::try_from(value?.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_forced_token_is_told_with_the_most_probable_ones() {
        // As llama-server 0c1e570 answered on the embedded model, shortened.
        let answer = json!({"completion_probabilities": [{"id": 77, "logprob": -9.838, "top_logprobs": [
            {"id": 620, "logprob": -1.19}, {"id": 1026, "logprob": -2.7}, {"id": 54, "logprob": -3.47}]}]});
        let scores = forced(&answer, 77, 2).unwrap();
        assert_eq!(scores.log_probability, -9.838);
        assert_eq!(scores.top, [(620, -1.19), (1026, -2.7)]);
        let other = forced(&answer, 78, 2).unwrap_err();
        assert!(matches!(other, WireError::Protocol(_)), "{other}");
        let lost = json!({"completion_probabilities": [{"id": 7, "logprob": -3.4e38}]});
        assert_eq!(forced(&lost, 7, 0).unwrap().log_probability, LEAST);
        assert!((LEAST - f64::from(f32::from_bits(1)).ln()).abs() < 1e-12);
        let nan = json!({"completion_probabilities": [{"id": 7, "logprob": null}]});
        assert!(matches!(forced(&nan, 7, 0), Err(WireError::Numerics(_))));
    }

    #[test]
    fn prompt_logprobs_are_read_by_place() {
        let answer = json!({"choices": [{"prompt_logprobs": [null,
            {"5": {"logprob": -2.0, "rank": 3}, "8": {"logprob": -0.5, "rank": 1}},
            {"6": {"logprob": -0.1, "rank": 1}}]}]});
        let scores = prompt_logprobs(&answer, &[4, 5, 6], 1, 1).unwrap();
        assert_eq!(scores[0].log_probability, -2.0);
        assert_eq!(scores[0].top, [(8, -0.5)]);
        assert_eq!(scores[1].top, [(6, -0.1)]);
        assert!(prompt_logprobs(&answer, &[4, 5], 1, 1).is_err(), "length");
        assert!(prompt_logprobs(&answer, &[4, 5, 7], 1, 1).is_err(), "other");
        assert!(prompt_logprobs(&answer, &[4, 5, 6], 0, 1).is_err(), "null");
    }

    #[test]
    fn echoed_prompts_may_have_one_token_more() {
        let values = |values: Value| json!({"choices": [{"logprobs": {"token_logprobs": values}}]});
        let whole = echoed(&values(json!([null, -1.5, -0.5])), &[4, 5], 1).unwrap();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].log_probability, -1.5);
        assert!(echoed(&values(json!([null, -1.5])), &[4, 5], 1).is_ok());
        for wrong in [json!([null]), json!([null, 1, 1, 1]), json!("x")] {
            assert!(
                echoed(&values(wrong.clone()), &[4, 5], 1).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn events_of_both_kinds_are_read() {
        let llama = r#"{"content":"","tokens":[],"stop":true,"stop_type":"limit",
            "tokens_evaluated":3,"tokens_predicted":2,
            "timings":{"prompt_ms":1.5,"predicted_ms":2.5}}"#;
        let delta = llama_event(llama).unwrap();
        assert_eq!(delta.finished, Some(false));
        assert_eq!(delta.timings_ms, Some((1.5, 2.5)));
        assert_eq!(
            (delta.prompt_tokens, delta.answer_tokens),
            (Some(3), Some(2))
        );

        let vllm = r#"{"choices":[{"text":" a","finish_reason":null,"logprobs":{"tokens":["token_id:7"]}}]}"#;
        let delta = openai_event(vllm).unwrap();
        assert_eq!(
            (delta.tokens, &*delta.text, delta.finished),
            (vec![7], " a", None)
        );
        let chat = r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}"#;
        let delta = openai_event(chat).unwrap();
        assert_eq!((&*delta.text, delta.finished), ("b", Some(true)));
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":5}}"#;
        assert_eq!(openai_event(usage).unwrap().answer_tokens, Some(5));
        let error = openai_event(r#"{"error":{"message":"out of slots"}}"#).unwrap_err();
        assert_eq!(error, WireError::Failed("out of slots".into()));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let _ = (llama_event(text), openai_event(text));
            }
            let _ = object(&bytes);
        }
    }
}
