//! Which machine this is: what stays the same from one run to the next.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};

use crate::platform;

/// The hardware and operating system that this process runs on.
///
/// ```
/// use harness_machine::Machine;
///
/// let machine = Machine::detect();
/// assert_eq!(machine.arch, std::env::consts::ARCH);
/// // What cannot be read is `None`, and never a guess.
/// if let (Some(physical), Some(logical)) = (machine.physical_cores, machine.logical_cores) {
///     assert!(1 <= physical && physical <= logical);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Brand of the CPU, such as `Apple M3 Pro`.
    pub chip: Option<String>,
    /// Instruction set that this program was compiled for, such as `aarch64`. Under Rosetta
    /// that is not the chip's own, and neither is the speed.
    pub arch: String,
    /// Instruction-set extensions that engines choose their kernels by, in Linux's spelling
    /// (`avx512_vnni`, `dotprod`), sorted.
    pub simd: Vec<String>,
    /// Cores, whatever the number of hardware threads on each.
    pub physical_cores: Option<u32>,
    /// Hardware threads.
    pub logical_cores: Option<u32>,
    /// On Apple silicon, cores of the fastest kind (`hw.perflevel0`).
    pub performance_cores: Option<u32>,
    /// On Apple silicon, cores of the second kind (`hw.perflevel1`).
    pub efficiency_cores: Option<u32>,
    /// Memory that the operating system manages.
    pub memory_bytes: Option<u64>,
    /// Size of a page of virtual memory.
    pub page_bytes: Option<u64>,
    /// Name of the operating system: `macOS`, or the Linux distribution's.
    pub os_name: Option<String>,
    /// Version of the operating system, such as `15.5`.
    pub os_version: Option<String>,
    /// Build of macOS (`24F74`), or release of the Linux kernel.
    pub os_build: Option<String>,
    /// Model that the manufacturer gave the machine, such as `Mac15,6`.
    pub model: Option<String>,
}

impl Machine {
    /// Reads what this machine is.
    ///
    /// ```
    /// use harness_machine::Machine;
    ///
    /// let (one, other) = (Machine::detect(), Machine::detect());
    /// assert_eq!(one, other, "nothing in it changes between runs");
    /// ```
    pub fn detect() -> Self {
        let system = System::new().ok().map(|mut system| {
            system.refresh_cpu_list(CpuRefreshKind::nothing());
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            system
        });
        let cpus = system.as_ref().map_or(&[][..], System::cpus);
        let [performance_cores, efficiency_cores] = platform::core_kinds();
        let mut simd = platform::simd();
        simd.sort_unstable();

        Machine {
            chip: cpus
                .first()
                .map(|cpu| cpu.brand().trim().to_owned())
                .filter(|brand| !brand.is_empty()),
            arch: std::env::consts::ARCH.to_owned(),
            simd: simd.into_iter().map(str::to_owned).collect(),
            physical_cores: System::physical_core_count().ok().and_then(count),
            logical_cores: count(cpus.len()),
            performance_cores,
            efficiency_cores,
            memory_bytes: system
                .as_ref()
                .map(System::total_memory)
                .filter(|&bytes| bytes > 0),
            page_bytes: Self::page_bytes(),
            os_name: platform::os_name(),
            os_version: System::os_version().ok(),
            os_build: platform::os_build(),
            model: platform::model(),
        }
    }

    /// Size of a page of virtual memory.
    pub(crate) fn page_bytes() -> Option<u64> {
        // SAFETY: `sysconf` takes any name, touches no memory of ours and returns -1 for errors.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(bytes).ok()
    }

    /// A short id of the hardware: 16 hexadecimal digits.
    ///
    /// It is the start of the SHA-256 of chip, architecture, core counts, memory and model.
    /// Like machines share it, and a machine keeps it across updates of its system: the
    /// operating system is left out, and memory is rounded to hide what a kernel reserves
    /// for itself.
    ///
    /// ```
    /// use harness_machine::Machine;
    ///
    /// let machine = Machine::detect();
    /// let updated = Machine { os_version: Some("99.1".into()), ..machine.clone() };
    /// assert_eq!(updated.fingerprint(), machine.fingerprint());
    /// let upgraded = Machine { memory_bytes: Some(1 << 50), ..machine.clone() };
    /// assert_ne!(upgraded.fingerprint(), machine.fingerprint());
    /// ```
    pub fn fingerprint(&self) -> String {
        fn line<T: ToString>(field: Option<&T>) -> String {
            field.map_or(String::new(), T::to_string)
        }
        let identity = [
            // A change of what is hashed takes a new number here, so that it shows in the
            // history of this line why old ids no longer match.
            "machine 1".to_owned(),
            line(self.chip.as_ref()),
            self.arch.clone(),
            line(self.physical_cores.as_ref()),
            line(self.logical_cores.as_ref()),
            line(self.performance_cores.as_ref()),
            line(self.efficiency_cores.as_ref()),
            line(self.memory_bytes.map(installed_memory).as_ref()),
            line(self.model.as_ref()),
        ]
        .join("\n");
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(identity));
        format!("{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// Rounds up to an eighth of the next power of two.
///
/// Firmware and kernel keep one to six per cent of the memory to themselves, a little more
/// or less with each update, so what is reported lies somewhat below what is installed, and
/// that is a power of two or a few eighths of one.
fn installed_memory(bytes: u64) -> u64 {
    let step = bytes.checked_next_power_of_two().map_or(1, |up| up / 8);
    bytes.checked_next_multiple_of(step.max(1)).unwrap_or(bytes)
}

/// A count of cores, of which there is at least one if any are known.
fn count(cores: usize) -> Option<u32> {
    u32::try_from(cores).ok().filter(|&cores| cores > 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn laptop() -> Machine {
        Machine {
            chip: Some("Apple M3 Pro".into()),
            arch: "aarch64".into(),
            simd: vec!["bf16".into(), "dotprod".into(), "i8mm".into()],
            physical_cores: Some(12),
            logical_cores: Some(12),
            performance_cores: Some(6),
            efficiency_cores: Some(6),
            memory_bytes: Some(36 * GIB),
            page_bytes: Some(16_384),
            os_name: Some("macOS".into()),
            os_version: Some("15.5".into()),
            os_build: Some("24F74".into()),
            model: Some("Mac15,6".into()),
        }
    }

    /// What an independent program prints, as a number.
    fn ask(program: &str, arguments: &[&str]) -> u64 {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse().unwrap()
    }

    #[test]
    fn agrees_with_getconf() {
        let machine = Machine::detect();
        assert_eq!(machine.page_bytes, Some(ask("getconf", &["PAGE_SIZE"])));
        assert_eq!(
            machine.logical_cores.map(u64::from),
            Some(ask("getconf", &["_NPROCESSORS_ONLN"]))
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn agrees_with_proc() {
        let machine = Machine::detect();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total_kib: u64 = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(machine.memory_bytes, Some(total_kib * 1024));

        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(machine.os_build.as_deref(), Some(release.trim()));
    }

    #[test]
    fn physical_cores_do_not_exceed_logical() {
        let machine = Machine::detect();
        assert!(machine.physical_cores.unwrap() <= machine.logical_cores.unwrap());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn simd_agrees_with_cpuid() {
        let simd = Machine::detect().simd;
        for (name, detected) in [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512_vnni", is_x86_feature_detected!("avx512vnni")),
            ("avx512_bf16", is_x86_feature_detected!("avx512bf16")),
        ] {
            assert_eq!(simd.iter().any(|known| known == name), detected, "{name}");
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn simd_agrees_with_std() {
        use std::arch::is_aarch64_feature_detected;

        let simd = Machine::detect().simd;
        for (name, detected) in [
            ("neon", is_aarch64_feature_detected!("neon")),
            ("dotprod", is_aarch64_feature_detected!("dotprod")),
            ("i8mm", is_aarch64_feature_detected!("i8mm")),
            ("bf16", is_aarch64_feature_detected!("bf16")),
        ] {
            assert_eq!(simd.iter().any(|known| known == name), detected, "{name}");
        }
    }

    #[test]
    fn detecting_twice_gives_the_same_machine() {
        let (first, second) = (Machine::detect(), Machine::detect());
        assert_eq!(first, second);
        assert_eq!(first.fingerprint(), second.fingerprint());
    }

    #[test]
    fn fingerprint_is_pinned() {
        // Computed with Python's hashlib. Histories hold ids of past versions: this one may
        // change only with the number in `fingerprint`.
        assert_eq!(laptop().fingerprint(), "ef1acb20288fe17e");
    }

    #[test]
    fn fingerprint_ignores_the_system() {
        let mut updated = laptop();
        updated.os_version = Some("26.0".into());
        updated.os_build = Some("25A354".into());
        updated.simd.clear();
        assert_eq!(updated.fingerprint(), laptop().fingerprint());
    }

    #[test]
    fn fingerprint_tells_hardware_apart() {
        let alter: [fn(&mut Machine); 8] = [
            |machine| machine.chip = None,
            |machine| machine.arch = "x86_64".into(),
            |machine| machine.physical_cores = Some(11),
            |machine| machine.logical_cores = Some(11),
            |machine| machine.performance_cores = Some(5),
            |machine| machine.efficiency_cores = Some(5),
            |machine| machine.memory_bytes = Some(18 * GIB),
            |machine| machine.model = Some("Mac15,7".into()),
        ];
        let mut seen = vec![laptop().fingerprint()];
        for alter in alter {
            let mut other = laptop();
            alter(&mut other);
            let id = other.fingerprint();
            assert!(!seen.contains(&id), "{other:?}");
            seen.push(id);
        }
    }

    #[test]
    fn memory_is_rounded_to_what_is_installed() {
        // What Linux reports on machines with 8, 16, 24, 64 and 512 GiB.
        for (reported_kib, installed_gib) in [
            (8_008_420, 8),
            (16_266_380, 16),
            (24_684_084, 24),
            (65_623_108, 64),
            (527_985_128, 512),
        ] {
            assert_eq!(installed_memory(reported_kib * 1024), installed_gib * GIB);
        }
        // What macOS reports is exact, and differing sizes stay apart.
        let sizes = [8, 16, 24, 32, 36, 48, 64, 96, 128, 192, 512];
        let mut rounded: Vec<u64> = sizes.map(|gib| installed_memory(gib * GIB)).to_vec();
        rounded.dedup();
        assert_eq!(rounded.len(), sizes.len());
    }

    #[test]
    fn rounding_survives_the_extremes() {
        assert_eq!(installed_memory(0), 0);
        assert_eq!(installed_memory(1), 1);
        assert_eq!(installed_memory(u64::MAX), u64::MAX);
    }

    #[test]
    fn json_round_trip_keeps_everything() {
        let json = serde_json::to_string(&laptop()).unwrap();
        assert!(json.contains("\"memory_bytes\":38654705664"), "{json}");
        assert_eq!(serde_json::from_str::<Machine>(&json).unwrap(), laptop());
    }
}
