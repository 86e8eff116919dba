//! `harness engines`, `harness suites`, `harness machine`.

use anyhow::Result;
use comfy_table::{Table, presets};
use engine::Availability;
use machine::{Machine, OtherLoad, State};
use serde_json::json;

use crate::args::ListFormat;
use crate::engines::Engines;
use crate::exit::Exit;
use crate::output::emit;

pub(crate) fn engines(engines: &Engines, format: ListFormat) -> Result<Exit> {
    let infos: Vec<_> = engines.iter().map(|engine| engine.describe()).collect();
    if format == ListFormat::Json {
        return json(&serde_json::to_value(infos)?);
    }
    let mut text = String::new();
    for info in infos {
        let available = match &info.availability {
            Availability::Yes => "available here: yes".into(),
            Availability::No(why) => format!("available here: no, because {why}"),
        };
        text += &format!(
            "{} {} on {}: {}\n{available}\n",
            info.id, info.version, info.device, info.about
        );
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "option",
            "default",
            "what it does",
        ]);
        for option in info.options {
            table.add_row([option.key, option.default, option.help]);
        }
        table.add_row([
            "model",
            "--model",
            "run this model file instead of the others'",
        ]);
        table.add_row([
            "tokenizer",
            "the model's own",
            "read texts by the tokenizer of this model file, for a package that holds none",
        ]);
        text += &format!("{table}\n\n");
    }
    text += "An engine spec is id[:key=value,…], e.g. reference:weights=q4_0,kv=f16\n";
    write(&text)
}

pub(crate) fn suites(format: ListFormat) -> Result<Exit> {
    if format == ListFormat::Json {
        let suites: Vec<_> = suites::all()
            .iter()
            .map(|suite| {
                json!({
                    "name": suite.name(),
                    "about": suite.about(),
                    "settings": suite.settings(),
                    "gates": suite.gates(),
                    "requires": suite.requires(),
                })
            })
            .collect();
        return json(&suites.into());
    }
    let mut text = String::new();
    for suite in suites::all() {
        text += &format!("{}: {}\n", suite.name(), suite.about());
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "setting",
            "default",
            "--quick",
            "unit",
            "what it does",
        ]);
        for setting in suite.settings() {
            table.add_row([
                format!("{}.{}", suite.name(), setting.key).as_str(),
                setting.default,
                setting.quick,
                setting.unit,
                setting.help,
            ]);
        }
        text += &format!("{table}\nGates:\n");
        for (metric, demand) in suite.gates() {
            text += &format!("  {}.{metric}  {demand}\n", suite.name());
        }
        text.push('\n');
    }
    write(&text)
}

pub(crate) fn machine(format: ListFormat) -> Result<Exit> {
    let machine = Machine::detect();
    let state = State::sample_with(OtherLoad::new());
    let warnings = state.warnings(&machine);
    let value = json!({
        "fingerprint": machine.fingerprint(),
        "identity": machine,
        "state": state,
        "warnings": warnings,
    });
    if format == ListFormat::Json {
        return json(&value);
    }
    let mut text = format!("fingerprint: {}\n", machine.fingerprint());
    for part in ["identity", "state"] {
        for (key, value) in value[part].as_object().into_iter().flatten() {
            let value = match value {
                serde_json::Value::Null => "unknown".into(),
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(items) => {
                    let items: Vec<&str> = items.iter().filter_map(|item| item.as_str()).collect();
                    items.join(" ")
                }
                other => other.to_string(),
            };
            text += &format!("{key}: {value}\n");
        }
    }
    for warning in warnings {
        text += &format!("warning: {warning}\n");
    }
    write(&text)
}

fn json(value: &serde_json::Value) -> Result<Exit> {
    write(&(serde_json::to_string_pretty(value)? + "\n"))
}

fn write(text: &str) -> Result<Exit> {
    emit(text)?;
    Ok(Exit::Passed)
}
