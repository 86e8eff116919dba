//! Linux: `/proc` and `/sys`.
//!
//! What is below `/sys` is read relative to a root, so that tests can bring trees of machines
//! that they do not run on.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sysinfo::System;

use crate::{PowerSource, ProcessMemory, State};

const SYS: &str = "/sys";

/// Features as `/proc/cpuinfo` spells them on this architecture, and as we do.
#[cfg(target_arch = "aarch64")]
const SIMD: &[(&str, &str)] = &[
    ("asimd", "neon"),
    ("asimdhp", "fp16"),
    ("asimddp", "dotprod"),
    ("i8mm", "i8mm"),
    ("bf16", "bf16"),
    ("sve", "sve"),
    ("sve2", "sve2"),
    ("sme", "sme"),
    ("sme2", "sme2"),
];
#[cfg(not(target_arch = "aarch64"))]
const SIMD: &[(&str, &str)] = &[
    ("avx", "avx"),
    ("f16c", "f16c"),
    ("fma", "fma"),
    ("avx2", "avx2"),
    ("avx_vnni", "avx_vnni"),
    ("avx512f", "avx512f"),
    ("avx512bw", "avx512bw"),
    ("avx512vl", "avx512vl"),
    ("avx512_vnni", "avx512_vnni"),
    ("avx512_bf16", "avx512_bf16"),
    ("avx512_fp16", "avx512_fp16"),
    ("amx_tile", "amx_tile"),
    ("amx_int8", "amx_int8"),
    ("amx_bf16", "amx_bf16"),
];

pub(crate) fn os_name() -> Option<String> {
    System::name().ok()
}

pub(crate) fn os_build() -> Option<String> {
    System::kernel_version().ok()
}

pub(crate) fn model() -> Option<String> {
    model_in(Path::new(SYS))
}

/// Firmware of PCs names them in DMI, that of most ARM boards in the device tree.
fn model_in(sys: &Path) -> Option<String> {
    text(&sys.join("class/dmi/id/product_name"))
        .or_else(|| text(&sys.join("firmware/devicetree/base/model")))
}

/// Linux does not tell kinds of cores by one interface; only Apple's are counted.
pub(crate) fn core_kinds() -> [Option<u32>; 2] {
    [None, None]
}

pub(crate) fn simd() -> Vec<&'static str> {
    fs::read_to_string("/proc/cpuinfo").map_or_else(|_| Vec::new(), |text| simd_in(&text, SIMD))
}

/// Those of `known` that the first core in the text of `/proc/cpuinfo` has. The kernel lists
/// a feature only if programs may use it.
fn simd_in(cpuinfo: &str, known: &[(&str, &'static str)]) -> Vec<&'static str> {
    let present: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        // Named so on x86 and on ARM.
        .find(|(key, _)| matches!(key.trim(), "flags" | "Features"))
        .map(|(_, features)| features.split_whitespace().collect())
        .unwrap_or_default();
    known
        .iter()
        .filter(|(theirs, _)| present.contains(theirs))
        .map(|&(_, ours)| ours)
        .collect()
}

pub(crate) fn power_heat_and_clocks() -> State {
    power_heat_and_clocks_in(Path::new(SYS))
}

fn power_heat_and_clocks_in(sys: &Path) -> State {
    let supplies: Vec<Supply> = children(&sys.join("class/power_supply"))
        .iter()
        .filter_map(|folder| Supply::read(folder))
        .collect();
    let zones = children(&sys.join("class/thermal"));
    let cpus = children(&sys.join("devices/system/cpu"));
    let clock = |file: &str| {
        cpus.iter()
            .filter_map(|cpu| number::<u64>(&cpu.join("cpufreq").join(file)))
            .max()
    };

    State {
        power_source: power_source(&supplies),
        battery_percent: battery_percent(&supplies),
        temperature_max_millicelsius: zones
            .iter()
            .filter_map(|zone| number(&zone.join("temp")))
            .max(),
        throttle_events: cpus
            .iter()
            .filter_map(|cpu| number::<u64>(&cpu.join("thermal_throttle/core_throttle_count")))
            .reduce(u64::saturating_add),
        cpu_frequency_khz: clock("scaling_cur_freq"),
        cpu_frequency_max_khz: clock("cpuinfo_max_freq"),
        ..State::default()
    }
}

/// A folder of `/sys/class/power_supply`.
struct Supply {
    is_battery: bool,
    is_online: bool,
    status: Option<String>,
    percent: Option<u8>,
}

impl Supply {
    fn read(folder: &Path) -> Option<Self> {
        // Mice and headsets have batteries too, which do not power the machine.
        if text(&folder.join("scope")).as_deref() == Some("Device") {
            return None;
        }
        let kind = text(&folder.join("type"))?;
        Some(Supply {
            is_battery: matches!(kind.as_str(), "Battery" | "UPS"),
            // 1 is a fixed voltage, 2 a negotiated one.
            is_online: number::<u8>(&folder.join("online")).is_some_and(|online| online > 0),
            status: text(&folder.join("status")),
            percent: number(&folder.join("capacity")),
        })
    }
}

fn power_source(supplies: &[Supply]) -> PowerSource {
    let battery_is = |wanted: &[&str]| {
        supplies
            .iter()
            .filter(|supply| supply.is_battery)
            .filter_map(|supply| supply.status.as_deref())
            .any(|status| wanted.contains(&status))
    };
    let charger_is_online = supplies
        .iter()
        .any(|supply| !supply.is_battery && supply.is_online);
    if charger_is_online {
        PowerSource::Mains
    } else if battery_is(&["Discharging"]) {
        PowerSource::Battery
    } else if battery_is(&["Charging", "Full", "Not charging"]) {
        PowerSource::Mains
    } else {
        PowerSource::Unknown
    }
}

fn battery_percent(supplies: &[Supply]) -> Option<u8> {
    let charges: Vec<u32> = supplies
        .iter()
        .filter(|supply| supply.is_battery)
        .filter_map(|supply| supply.percent)
        .map(|percent| u32::from(percent.min(100)))
        .collect();
    let batteries = u32::try_from(charges.len()).ok()?;
    let mean = charges.iter().sum::<u32>().checked_div(batteries)?;
    u8::try_from(mean).ok()
}

pub(crate) fn process_memory() -> ProcessMemory {
    fs::read_to_string("/proc/self/status")
        .map(|text| process_memory_in(&text))
        .unwrap_or_default()
}

/// What the process `pid` holds that the kernel cannot simply drop: anonymous and shared
/// memory, and what of it is swapped out.
pub(crate) fn charged_bytes(pid: u32) -> Option<u64> {
    charged_bytes_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn charged_bytes_in(status: &str) -> Option<u64> {
    let anonymous = status_bytes(status, "RssAnon")?;
    let rest = ["RssShmem", "VmSwap"].map(|key| status_bytes(status, key).unwrap_or_default());
    rest.iter()
        .try_fold(anonymous, |sum, part| sum.checked_add(*part))
}

/// Reads the text of `/proc/PID/status`.
fn process_memory_in(status: &str) -> ProcessMemory {
    let bytes = |key: &str| status_bytes(status, key);
    ProcessMemory {
        rss_bytes: bytes("VmRSS"),
        peak_rss_bytes: bytes("VmHWM"),
        ..ProcessMemory::default()
    }
}

/// One line of `/proc/PID/status`, whose `kB` are 1024 bytes.
fn status_bytes(status: &str, key: &str) -> Option<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?
        .trim()
        .strip_suffix("kB")?
        .trim_end()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The text of a small file without its end of line, or of a string in the device tree without
/// its NUL; `None` if nothing remains.
fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}

fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// What a folder holds; nothing if there is no such folder.
fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(
        |_| Vec::new(),
        |entries| entries.flatten().map(|entry| entry.path()).collect(),
    )
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A `/sys` that holds these files.
    fn sys(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn state_of(files: &[(&str, &str)]) -> State {
        power_heat_and_clocks_in(sys(files).path())
    }

    const STATUS: &str = "\
Name:\tharness
State:\tR (running)
VmPeak:\t  301234 kB
VmHWM:\t    1752 kB
VmRSS:\t    1640 kB
RssAnon:\t     112 kB
Threads:\t1
";

    #[test]
    fn reads_process_memory() {
        let memory = process_memory_in(STATUS);
        assert_eq!(memory.rss_bytes, Some(1640 * 1024));
        assert_eq!(memory.peak_rss_bytes, Some(1752 * 1024));
        assert_eq!(memory.phys_footprint_bytes, None);
    }

    #[test]
    fn process_memory_survives_truncation() {
        for end in 0..STATUS.len() {
            let memory = process_memory_in(&STATUS[..end]);
            assert!(matches!(memory.rss_bytes, None | Some(1_679_360)), "{end}");
            assert!(
                matches!(memory.peak_rss_bytes, None | Some(1_794_048)),
                "{end}"
            );
        }
    }

    #[test]
    fn what_is_charged_adds_up() {
        let status = "VmRSS:\t 99 kB\nVmSwap:\t 2 kB\nRssAnon:\t 10 kB\nRssFile:\t 80 kB\n\
                      RssShmem:\t 3 kB\n";
        assert_eq!(charged_bytes_in(status), Some(15 * 1024));
        assert_eq!(charged_bytes_in("RssAnon:\t 1 kB\n"), Some(1024));
        assert_eq!(charged_bytes_in("RssFile:\t 1 kB\n"), None);
        assert_eq!(
            charged_bytes_in("RssAnon:\t 18014398509481983 kB\nVmSwap: 9 kB"),
            None
        );
    }

    #[test]
    fn process_memory_survives_garbage() {
        for garbage in [
            "",
            ":",
            "VmRSS",
            "VmRSS:",
            "VmRSS: kB",
            "VmRSS: -1 kB",
            "VmRSS: 12 MB",
            "VmRSS: 1.5 kB",
            "VmRSS: 18446744073709551615 kB",
            "VmRSS: 99999999999999999999 kB",
            "VmRSSx: 12 kB",
            "\u{fffd}\0VmRSS: é kB",
        ] {
            assert_eq!(
                process_memory_in(garbage),
                ProcessMemory::default(),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn reads_simd_of_both_architectures() {
        let known = [("asimddp", "dotprod"), ("avx2", "avx2"), ("bf16", "bf16")];
        let x86 = "processor\t: 0\nvmx flags\t: bf16\nflags\t\t: fpu avx avx2 avx512_bf16\n";
        assert_eq!(simd_in(x86, &known), ["avx2"]);
        let arm = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\n\nFeatures\t: avx2\n";
        assert_eq!(simd_in(arm, &known), ["dotprod", "bf16"]);
    }

    #[test]
    fn simd_survives_garbage() {
        for garbage in ["", "flags", "flags:", "flags\t\t: avx", ": avx2", "\0\n\n:"] {
            assert!(
                simd_in(garbage, &[("avx2", "avx2")]).is_empty(),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn an_empty_sys_tells_nothing() {
        assert_eq!(state_of(&[]), State::default());
        assert_eq!(model_in(sys(&[]).path()), None);
    }

    #[test]
    fn model_comes_from_dmi_or_the_device_tree() {
        let pc = sys(&[("class/dmi/id/product_name", "XPS 13 9310\n")]);
        assert_eq!(model_in(pc.path()).as_deref(), Some("XPS 13 9310"));
        let board = sys(&[("firmware/devicetree/base/model", "Raspberry Pi 5 Model B\0")]);
        assert_eq!(
            model_in(board.path()).as_deref(),
            Some("Raspberry Pi 5 Model B")
        );
    }

    #[test]
    fn laptop_on_battery() {
        let state = state_of(&[
            ("class/power_supply/AC/type", "Mains\n"),
            ("class/power_supply/AC/online", "0\n"),
            ("class/power_supply/BAT0/type", "Battery\n"),
            ("class/power_supply/BAT0/status", "Discharging\n"),
            ("class/power_supply/BAT0/capacity", "57\n"),
        ]);
        assert_eq!(state.power_source, PowerSource::Battery);
        assert_eq!(state.battery_percent, Some(57));
    }

    #[test]
    fn laptop_on_a_charger() {
        let state = state_of(&[
            ("class/power_supply/ucsi/type", "USB\n"),
            ("class/power_supply/ucsi/online", "2\n"),
            // A weak charger: the battery helps out.
            ("class/power_supply/BAT0/type", "Battery\n"),
            ("class/power_supply/BAT0/status", "Discharging\n"),
            ("class/power_supply/BAT0/capacity", "90\n"),
            ("class/power_supply/BAT1/type", "Battery\n"),
            ("class/power_supply/BAT1/capacity", "31\n"),
        ]);
        assert_eq!(state.power_source, PowerSource::Mains);
        assert_eq!(state.battery_percent, Some(60));
    }

    #[test]
    fn a_full_battery_without_a_charger_entry_means_mains() {
        let state = state_of(&[
            ("class/power_supply/battery/type", "Battery\n"),
            ("class/power_supply/battery/status", "Full\n"),
        ]);
        assert_eq!(state.power_source, PowerSource::Mains);
        assert_eq!(state.battery_percent, None);
    }

    #[test]
    fn a_mouse_does_not_power_the_machine() {
        let state = state_of(&[
            ("class/power_supply/hidpp_battery_0/type", "Battery\n"),
            ("class/power_supply/hidpp_battery_0/scope", "Device\n"),
            ("class/power_supply/hidpp_battery_0/status", "Discharging\n"),
            ("class/power_supply/hidpp_battery_0/capacity", "20\n"),
        ]);
        assert_eq!(state, State::default());
    }

    #[test]
    fn heat_and_clocks_are_taken_over_all_parts() {
        let state = state_of(&[
            ("class/thermal/thermal_zone0/temp", "27800\n"),
            ("class/thermal/thermal_zone1/temp", "64000\n"),
            ("class/thermal/thermal_zone2/temp", "no reading\n"),
            ("class/thermal/cooling_device0/type", "Processor\n"),
            (
                "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
                "800000\n",
            ),
            (
                "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
                "4800000\n",
            ),
            (
                "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
                "3\n",
            ),
            (
                "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
                "3100000\n",
            ),
            (
                "devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq",
                "3600000\n",
            ),
            (
                "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count",
                "4\n",
            ),
            ("devices/system/cpu/online", "0-1\n"),
        ]);
        assert_eq!(state.temperature_max_millicelsius, Some(64_000));
        assert_eq!(state.throttle_events, Some(7));
        assert_eq!(state.cpu_frequency_khz, Some(3_100_000));
        assert_eq!(state.cpu_frequency_max_khz, Some(4_800_000));
        assert_eq!(state.thermal_pressure, None);
    }
}
