//! What the machine did meanwhile.

use machine::{Machine, OtherLoad, State};

use crate::{Better, Measurement};

const CASE: &str = "machine";

/// The machine before the first sample.
pub(super) struct Before {
    machine: Machine,
    state: State,
}

impl Before {
    pub(super) fn look() -> Self {
        Self {
            machine: Machine::detect(),
            state: State::sample_with(OtherLoad::new()),
        }
    }

    /// The figures after the last sample: state at the start and the end, and how many
    /// reasons there are to distrust timings taken between.
    pub(super) fn figures(&self) -> Vec<Measurement> {
        let after = State::sample();
        let reasons = self.suspicions(&after);
        let mut all = vec![Measurement {
            why: (!reasons.is_empty()).then(|| reasons.join(" ")),
            ..figure("suspicions", "reasons", Better::Lower, reasons.len() as f64)
        }];
        for (state, when) in [(&self.state, "start"), (&after, "end")] {
            let readings = [
                ("load_average_1min", "threads", state.load_average_1min),
                ("other_busy_cores", "cores", state.other_busy_cores),
                (
                    "cpu_frequency_khz",
                    "kHz",
                    state.cpu_frequency_khz.map(|khz| khz as f64),
                ),
                (
                    "temperature_max_millicelsius",
                    "m°C",
                    state.temperature_max_millicelsius.map(|t| t as f64),
                ),
                ("battery_percent", "%", state.battery_percent.map(f64::from)),
                (
                    "thermal_pressure",
                    "level",
                    state.thermal_pressure.map(|level| f64::from(level as u8)),
                ),
                (
                    "throttle_events",
                    "events",
                    state.throttle_events.map(|events| events as f64),
                ),
            ];
            for (name, unit, value) in readings {
                all.extend(
                    value.map(|value| figure(format!("{name}_{when}"), unit, Better::Equal, value)),
                );
            }
        }
        all
    }

    fn suspicions(&self, after: &State) -> Vec<String> {
        let mut reasons = self.state.warnings(&self.machine);
        // The load at the end is this run's own.
        let heat = State {
            power_source: after.power_source,
            battery_percent: after.battery_percent,
            thermal_pressure: after.thermal_pressure,
            ..State::default()
        };
        for reason in heat.warnings(&self.machine) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if let (Some(before), Some(after)) = (self.state.throttle_events, after.throttle_events)
            && after > before
        {
            reasons.push(format!(
                "Heat slowed the cores {} times meanwhile.",
                after - before
            ));
        }
        if let (Some(before), Some(after)) = (self.state.cpu_frequency_khz, after.cpu_frequency_khz)
            && (after as f64) < SLOWED * before as f64
        {
            reasons.push(format!(
                "The fastest core went from {before} to {after} kHz meanwhile."
            ));
        }
        reasons
    }
}

/// Share of its clock at the start below which the fastest core has been slowed.
const SLOWED: f64 = 0.9;

fn figure(
    metric: impl Into<crate::Label>,
    unit: &'static str,
    better: Better,
    value: f64,
) -> Measurement {
    Measurement::new(CASE, metric, unit, better, value, 1).aside()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::ThermalPressure;

    fn before(state: State) -> Before {
        Before {
            machine: Machine::detect(),
            state,
        }
    }

    #[test]
    fn what_changes_for_the_worse_is_a_reason() {
        let cool = State {
            throttle_events: Some(3),
            cpu_frequency_khz: Some(4_000_000),
            thermal_pressure: Some(ThermalPressure::Nominal),
            ..State::default()
        };
        assert!(before(cool.clone()).suspicions(&cool).is_empty());
        let hot = State {
            throttle_events: Some(5),
            cpu_frequency_khz: Some(2_000_000),
            thermal_pressure: Some(ThermalPressure::Heavy),
            load_average_1min: Some(1e6),
            ..State::default()
        };
        let reasons = before(cool).suspicions(&hot).join("\n");
        for part in ["heavy", "2 times", "2000000 kHz"] {
            assert!(reasons.contains(part), "{reasons}");
        }
        assert!(!reasons.contains("load average"), "{reasons}");
        // A reason from before is not told twice.
        assert_eq!(before(hot.clone()).suspicions(&hot).len(), 2);
    }
}
