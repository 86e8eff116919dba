//! What the machine did while cycles ran, and what of it makes their times suspicious.

use std::time::Instant;

use machine::{Machine, OtherLoad, PowerSource, State, ThermalPressure};

use super::cycle::Cycle;

/// Share of the highest clock seen that a clock must reach to count as unchanged.
const CLOCK_LIMIT: f64 = 0.9;

/// The machine during some cycles. Plain numbers like [`Cycle`]; NaN is what it does not tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    /// Cores that other programs kept busy.
    pub(super) other_busy_cores: f64,
    pub(super) temperature_millicelsius: f64,
    pub(super) clock_khz: f64,
    pub(super) suspicions: Suspicions,
}

/// What makes times suspicious.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Suspicions {
    pub(super) battery: bool,
    pub(super) throttled: bool,
    pub(super) other_load: bool,
    pub(super) slower_clock: bool,
}

impl Suspicions {
    pub(super) const NAMES: [&str; 4] = [
        "on battery",
        "slowed by heat",
        "beside other load",
        "at a lower clock",
    ];

    /// In the order of [`NAMES`](Self::NAMES).
    pub(super) fn list(self) -> [bool; 4] {
        [
            self.battery,
            self.throttled,
            self.other_load,
            self.slower_clock,
        ]
    }

    pub(super) fn any(self) -> bool {
        self.list().contains(&true)
    }
}

impl Conditions {
    pub(super) const UNKNOWN: Self = Self {
        other_busy_cores: f64::NAN,
        temperature_millicelsius: f64::NAN,
        clock_khz: f64::NAN,
        suspicions: Suspicions {
            battery: false,
            throttled: false,
            other_load: false,
            slower_clock: false,
        },
    };

    pub(super) fn samples(&self) -> [(&'static str, &'static str, f64); 4] {
        [
            ("other_busy_cores", "cores", self.other_busy_cores),
            ("temperature", "m°C", self.temperature_millicelsius),
            ("clock_khz", "kHz", self.clock_khz),
            (
                "suspicious",
                "1",
                f64::from(u8::from(self.suspicions.any())),
            ),
        ]
    }
}

/// Looks at the machine from time to time and marks the cycles since the last look.
pub(super) struct Watch {
    load: Option<OtherLoad>,
    cores: f64,
    looked: Instant,
    /// Cycles that have their mark.
    marked: usize,
    throttle_events: Option<u64>,
    highest_clock_khz: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            load: OtherLoad::new(),
            cores: f64::from(Machine::detect().logical_cores.unwrap_or(1)),
            looked: Instant::now(),
            marked: 0,
            throttle_events: State::sample().throttle_events,
            highest_clock_khz: 0,
        }
    }

    /// Looks, if the last look is long enough ago for loads to be told.
    pub(super) fn look(&mut self, cycles: &mut [Cycle]) {
        if self.looked.elapsed() >= OtherLoad::LEAST_INTERVAL {
            self.mark(cycles);
        }
    }

    /// Marks what no look has marked yet.
    pub(super) fn finish(&mut self, cycles: &mut [Cycle]) {
        if self.marked < cycles.len() {
            self.mark(cycles);
        }
    }

    fn mark(&mut self, cycles: &mut [Cycle]) {
        let busy = self.load.as_mut().and_then(OtherLoad::busy_cores);
        let conditions = self.judge(&State::sample(), busy);
        for cycle in &mut cycles[self.marked..] {
            cycle.conditions = conditions;
        }
        self.marked = cycles.len();
        self.looked = Instant::now();
    }

    fn judge(&mut self, state: &State, other_busy_cores: Option<f64>) -> Conditions {
        let throttled_more = self
            .throttle_events
            .zip(state.throttle_events)
            .is_some_and(|(before, now)| now > before);
        self.throttle_events = state.throttle_events;
        let clock = state.cpu_frequency_khz;
        self.highest_clock_khz = self.highest_clock_khz.max(clock.unwrap_or(0));
        let limit = CLOCK_LIMIT * self.highest_clock_khz as f64;
        let pressed = state
            .thermal_pressure
            .is_some_and(|pressure| pressure > ThermalPressure::Nominal);
        let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
        Conditions {
            other_busy_cores: known(other_busy_cores),
            temperature_millicelsius: known(state.temperature_max_millicelsius.map(|t| t as f64)),
            clock_khz: known(clock.map(|khz| khz as f64)),
            suspicions: Suspicions {
                battery: state.power_source == PowerSource::Battery,
                throttled: throttled_more || pressed,
                other_load: other_busy_cores
                    .is_some_and(|busy| busy > OtherLoad::HARMLESS_SHARE * self.cores),
                slower_clock: clock.is_some_and(|khz| (khz as f64) < limit),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch {
            cores: 4.0,
            throttle_events: Some(7),
            ..Watch::new()
        }
    }

    /// What `state` makes suspicious, in the order of the names.
    fn suspicions(watch: &mut Watch, state: &State, busy: Option<f64>) -> [bool; 4] {
        watch.judge(state, busy).suspicions.list()
    }

    #[test]
    fn each_condition_is_told_by_itself() {
        let quiet = State {
            throttle_events: Some(7),
            cpu_frequency_khz: Some(3_000_000),
            thermal_pressure: Some(ThermalPressure::Nominal),
            power_source: PowerSource::Mains,
            ..State::default()
        };
        let mut watch = watch();
        assert_eq!(suspicions(&mut watch, &quiet, Some(0.3)), [false; 4]);
        assert!(suspicions(&mut watch, &quiet, Some(0.5))[2]);
        let slow = State {
            cpu_frequency_khz: Some(2_600_000),
            ..quiet.clone()
        };
        assert_eq!(
            suspicions(&mut watch, &slow, None),
            [false, false, false, true]
        );
        let hot = State {
            throttle_events: Some(8),
            ..quiet.clone()
        };
        assert!(suspicions(&mut watch, &hot, None)[1]);
        // Events of the past are past.
        assert!(!suspicions(&mut watch, &hot, None)[1]);
        let battery = State {
            power_source: PowerSource::Battery,
            thermal_pressure: Some(ThermalPressure::Heavy),
            ..quiet
        };
        assert_eq!(
            suspicions(&mut watch, &battery, None),
            [true, true, false, false]
        );
    }

    #[test]
    fn a_machine_that_tells_nothing_raises_no_suspicion() {
        let conditions = watch().judge(&State::default(), None);
        assert!(!conditions.suspicions.any());
        assert!(conditions.clock_khz.is_nan());
    }
}
