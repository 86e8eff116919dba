//! What the machine is doing: what changes from one instant to the next.

use std::fmt;

use serde::{Deserialize, Serialize};
use sysinfo::{MemoryRefreshKind, System};

use crate::{Machine, OtherLoad, platform};

/// Share of the cores that may have been busy before a run, where nobody knows whose doing that was,
/// without making its timings suspect.
const LOAD_PER_CORE_LIMIT: f64 = 0.5;

/// Power, heat, clocks, load and memory of the machine at one instant.
///
/// ```
/// use harness_machine::{PowerSource, State};
///
/// let state = State::sample();
/// let short = state.memory_available_bytes.is_some_and(|bytes| bytes < 2 << 30);
/// let slow = state.power_source == PowerSource::Battery;
/// if short || slow {
///     println!("timings of a large model will be suspect");
/// }
/// assert_ne!(state.memory_available_bytes, Some(0));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Where the power comes from.
    pub power_source: PowerSource,
    /// Charge of the battery, the mean if there are several.
    pub battery_percent: Option<u8>,
    /// How far macOS holds the machine back to cool it.
    pub thermal_pressure: Option<ThermalPressure>,
    /// On Linux, the hottest thermal zone.
    pub temperature_max_millicelsius: Option<i64>,
    /// On Linux with an Intel CPU, how often heat has slowed the cores since boot, summed
    /// over them. A rise between the start and the end of a run tells of throttling.
    pub throttle_events: Option<u64>,
    /// On Linux, the present clock of the fastest core.
    pub cpu_frequency_khz: Option<u64>,
    /// On Linux, the highest clock that any core can reach.
    pub cpu_frequency_max_khz: Option<u64>,
    /// Mean number of running (on Linux, also of disk-bound) threads in the last minute.
    pub load_average_1min: Option<f64>,
    /// Cores that other programs kept busy just before; [`State::sample_with`] alone looks at that.
    pub other_busy_cores: Option<f64>,
    /// Memory that nothing uses.
    pub memory_free_bytes: Option<u64>,
    /// On Linux, memory to be had without swapping, caches included; on macOS, all that is
    /// neither wired nor compressed.
    pub memory_available_bytes: Option<u64>,
    /// Memory moved out to disk.
    pub swap_used_bytes: Option<u64>,
}

/// Where the machine's power comes from.
///
/// ```
/// use harness_machine::{Machine, PowerSource, State};
///
/// let state = State {
///     power_source: PowerSource::Battery,
///     battery_percent: Some(80),
///     ..State::default()
/// };
/// let warnings = state.warnings(&Machine::detect());
/// assert!(warnings[0].starts_with("The machine runs on battery at 80 %"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerSource {
    /// A battery, built in or of a UPS.
    Battery,
    /// The mains, or a charger.
    Mains,
    /// The system does not say, as most desktops and virtual machines do not.
    #[default]
    Unknown,
}

/// How far macOS holds the machine back to cool it (`OSThermalPressureLevel`).
///
/// ```
/// use harness_machine::ThermalPressure;
///
/// assert!(ThermalPressure::Nominal < ThermalPressure::Heavy);
/// assert_eq!(ThermalPressure::Heavy.to_string(), "heavy");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThermalPressure {
    /// Not at all.
    Nominal,
    /// A little.
    Moderate,
    /// Much: expect less than half the speed.
    Heavy,
    /// As far as it can.
    Trapping,
    /// So far that it is about to sleep.
    Sleeping,
}

impl fmt::Display for ThermalPressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ThermalPressure::Nominal => "nominal",
            ThermalPressure::Moderate => "moderate",
            ThermalPressure::Heavy => "heavy",
            ThermalPressure::Trapping => "trapping",
            ThermalPressure::Sleeping => "sleeping",
        })
    }
}

impl State {
    /// Reads the state of this machine now.
    ///
    /// ```
    /// use harness_machine::State;
    ///
    /// let before = State::sample();
    /// // … what is timed …
    /// let after = State::sample();
    /// let hotter = after.temperature_max_millicelsius > before.temperature_max_millicelsius;
    /// println!("{}", if hotter { "it warmed up" } else { "it stayed cool, or does not tell" });
    /// assert_eq!(before.power_source, after.power_source, "nobody pulled the plug");
    /// ```
    pub fn sample() -> Self {
        // Where memory cannot be read sysinfo leaves zeros, which no running machine has.
        let memory = System::new()
            .ok()
            .map(|mut system| {
                system.refresh_memory_specifics(MemoryRefreshKind::everything());
                system
            })
            .filter(|system| system.total_memory() > 0 && system.available_memory() > 0);

        State {
            load_average_1min: System::load_average().ok().map(|load| load.one),
            memory_free_bytes: memory.as_ref().map(System::free_memory),
            memory_available_bytes: memory.as_ref().map(System::available_memory),
            swap_used_bytes: memory.as_ref().map(System::used_swap),
            ..platform::power_heat_and_clocks()
        }
    }

    /// The same with what other programs did since `load` began to look, for which it may have
    /// to wait ([`OtherLoad::settle`]).
    ///
    /// ```
    /// use harness_machine::{Machine, OtherLoad, State};
    ///
    /// let load = OtherLoad::new();
    /// // … what has to be done first anyway …
    /// let state = State::sample_with(load);
    /// for warning in state.warnings(&Machine::detect()) {
    ///     eprintln!("{warning}");
    /// }
    /// assert!(state.other_busy_cores.is_none_or(|cores| cores >= 0.0));
    /// ```
    pub fn sample_with(load: Option<OtherLoad>) -> Self {
        State {
            other_busy_cores: load.and_then(OtherLoad::settle),
            ..Self::sample()
        }
    }

    /// Why timings taken in this state on `machine` are suspect, and what to do about it: a
    /// sentence for each reason. Meant for the state before a run, since a run is a load
    /// itself.
    ///
    /// ```
    /// use harness_machine::{Machine, State, ThermalPressure};
    ///
    /// let machine = Machine { logical_cores: Some(8), ..Machine::detect() };
    /// let busy = State {
    ///     thermal_pressure: Some(ThermalPressure::Moderate),
    ///     load_average_1min: Some(6.0),
    ///     ..State::default()
    /// };
    /// assert_eq!(busy.warnings(&machine).len(), 2);
    /// assert!(State::default().warnings(&machine).is_empty());
    /// ```
    pub fn warnings(&self, machine: &Machine) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.power_source == PowerSource::Battery {
            let charge = self
                .battery_percent
                .map_or(String::new(), |percent| format!(" at {percent} %"));
            warnings.push(format!(
                "The machine runs on battery{charge}: connect it to the mains, or power saving \
                 may slow it down."
            ));
        }
        if let Some(pressure) = self.thermal_pressure
            && pressure > ThermalPressure::Nominal
        {
            warnings.push(format!(
                "Thermal pressure is {pressure}: let the machine cool down first."
            ));
        }
        let cores = machine.logical_cores.map(f64::from);
        match (self.other_busy_cores, self.load_average_1min, cores) {
            (Some(busy), _, Some(cores)) if busy > OtherLoad::HARMLESS_SHARE * cores => {
                warnings.push(format!(
                    "Other programs keep {busy:.1} of {cores} cores busy: stop them, or wait until \
                     they are done."
                ));
            }
            // It remembers what this program itself did a while ago.
            (None, Some(load), Some(cores)) if load > LOAD_PER_CORE_LIMIT * cores => {
                warnings.push(format!(
                    "The load average is {load:.1} on {cores} cores: stop other programs, or wait \
                     until they are done."
                ));
            }
            _ => {}
        }
        if let Some(swapped) = self.swap_used_bytes
            && swapped > 0
        {
            warnings.push(format!(
                "{} MiB of swap are in use: close other programs, or paging may disturb timings.",
                swapped.div_ceil(1 << 20)
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine_with_cores(logical_cores: Option<u32>) -> Machine {
        Machine {
            logical_cores,
            ..Machine::detect()
        }
    }

    #[test]
    fn sample_is_plausible() {
        let state = State::sample();
        let total = Machine::detect().memory_bytes.unwrap();
        assert!(state.memory_free_bytes.unwrap() <= total);
        assert!(state.memory_available_bytes.unwrap() <= total);
        assert!(state.load_average_1min.unwrap() >= 0.0);
        assert!(state.battery_percent.is_none_or(|percent| percent <= 100));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn agrees_with_meminfo() {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        let bytes = |key: &str| -> u64 {
            let kib = meminfo
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .and_then(|rest| rest.trim().strip_suffix(" kB"))
                .unwrap();
            kib.parse::<u64>().unwrap() * 1024
        };
        let state = State::sample();
        // Other programs take and give memory between the two readings.
        let slack = 1 << 30;
        let available = state.memory_available_bytes.unwrap();
        assert!(available.abs_diff(bytes("MemAvailable")) < slack);
        assert!(state.memory_free_bytes.unwrap().abs_diff(bytes("MemFree")) < slack);
        let swapped = bytes("SwapTotal") - bytes("SwapFree");
        assert!(state.swap_used_bytes.unwrap().abs_diff(swapped) < slack);
    }

    #[test]
    fn a_quiet_machine_gives_no_warning() {
        let state = State {
            power_source: PowerSource::Mains,
            battery_percent: Some(80),
            thermal_pressure: Some(ThermalPressure::Nominal),
            load_average_1min: Some(2.0),
            swap_used_bytes: Some(0),
            ..State::default()
        };
        assert!(state.warnings(&machine_with_cores(Some(4))).is_empty());
    }

    #[test]
    fn nothing_known_gives_no_warning() {
        assert!(
            State::default()
                .warnings(&machine_with_cores(None))
                .is_empty()
        );
    }

    #[test]
    fn each_reason_gives_a_warning() {
        let state = State {
            power_source: PowerSource::Battery,
            battery_percent: Some(41),
            thermal_pressure: Some(ThermalPressure::Heavy),
            load_average_1min: Some(2.1),
            swap_used_bytes: Some((3 << 20) + 1),
            ..State::default()
        };
        let warnings = state.warnings(&machine_with_cores(Some(4)));
        let expected = [
            "on battery at 41 %",
            "pressure is heavy",
            "2.1 on 4 cores",
            "4 MiB of swap",
        ];
        assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.contains(part), "{warning:?} lacks {part:?}");
        }
    }

    #[test]
    fn what_others_do_now_counts_for_more_than_the_last_minute() {
        let warnings = |busy, load| {
            let state = State {
                other_busy_cores: Some(busy),
                load_average_1min: Some(load),
                ..State::default()
            };
            state.warnings(&machine_with_cores(Some(4)))
        };
        assert!(warnings(0.3, 3.9).is_empty());
        let begun = warnings(1.04, 0.1).join("\n");
        assert!(
            begun.starts_with("Other programs keep 1.0 of 4 cores busy"),
            "{begun}"
        );
    }

    #[test]
    fn json_round_trip_keeps_everything() {
        let state = State {
            power_source: PowerSource::Battery,
            thermal_pressure: Some(ThermalPressure::Trapping),
            temperature_max_millicelsius: Some(-5_000),
            load_average_1min: Some(0.1),
            ..State::default()
        };
        let json = serde_json::to_string(&state).unwrap();
        assert!(json.contains(r#""power_source":"battery""#), "{json}");
        assert!(json.contains(r#""thermal_pressure":"trapping""#), "{json}");
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }
}
