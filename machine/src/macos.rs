//! macOS: sysctl, IOKit's power sources, thermal notifications and the task's ledger.

use std::ffi::{CStr, c_char, c_int};
use std::mem::{MaybeUninit, offset_of, size_of};
use std::ptr;

use mach2::kern_return::KERN_SUCCESS;
use mach2::message::mach_msg_type_number_t;
use mach2::task::task_info;
use mach2::task_info::{TASK_VM_INFO, task_vm_info};
use mach2::traps::mach_task_self;
use mach2::vm_types::natural_t;
use objc2_core_foundation::{CFDictionary, CFNumber, CFRetained, CFString, CFType};
use objc2_io_kit::{
    IOPSCopyPowerSourcesInfo, IOPSCopyPowerSourcesList, IOPSGetPowerSourceDescription,
    IOPSGetTimeRemainingEstimate, kIOPSCurrentCapacityKey, kIOPSInternalBatteryType,
    kIOPSMaxCapacityKey, kIOPSTimeRemainingUnknown, kIOPSTimeRemainingUnlimited, kIOPSTypeKey,
};

use crate::{PowerSource, ProcessMemory, State, ThermalPressure};

/// Features as sysctl names them on this architecture, and as we do.
#[cfg(target_arch = "aarch64")]
const SIMD: &[(&CStr, &str)] = &[
    (c"hw.optional.neon", "neon"),
    (c"hw.optional.arm.FEAT_FP16", "fp16"),
    (c"hw.optional.arm.FEAT_DotProd", "dotprod"),
    (c"hw.optional.arm.FEAT_I8MM", "i8mm"),
    (c"hw.optional.arm.FEAT_BF16", "bf16"),
    (c"hw.optional.arm.FEAT_SME", "sme"),
    (c"hw.optional.arm.FEAT_SME2", "sme2"),
];
#[cfg(not(target_arch = "aarch64"))]
const SIMD: &[(&CStr, &str)] = &[
    (c"hw.optional.avx1_0", "avx"),
    (c"hw.optional.f16c", "f16c"),
    (c"hw.optional.fma", "fma"),
    (c"hw.optional.avx2_0", "avx2"),
    (c"hw.optional.avx512f", "avx512f"),
    (c"hw.optional.avx512bw", "avx512bw"),
    (c"hw.optional.avx512vl", "avx512vl"),
];

// <notify.h>, part of libSystem.
unsafe extern "C" {
    fn notify_register_check(name: *const c_char, out_token: *mut c_int) -> u32;
    fn notify_get_state(token: c_int, state: *mut u64) -> u32;
    fn notify_cancel(token: c_int) -> u32;
}
const NOTIFY_STATUS_OK: u32 = 0;

pub(crate) fn os_name() -> Option<String> {
    Some("macOS".to_owned())
}

pub(crate) fn os_build() -> Option<String> {
    sysctl_text(c"kern.osversion")
}

pub(crate) fn model() -> Option<String> {
    sysctl_text(c"hw.model")
}

/// Counts the cores of the fastest and of the second kind; Intel Macs know no kinds.
pub(crate) fn core_kinds() -> [Option<u32>; 2] {
    [c"hw.perflevel0.physicalcpu", c"hw.perflevel1.physicalcpu"]
        .map(|name| u32::try_from(sysctl_integer(name)?).ok())
}

pub(crate) fn simd() -> Vec<&'static str> {
    SIMD.iter()
        .filter(|(name, _)| sysctl_integer(name) == Some(1))
        .map(|&(_, ours)| ours)
        .collect()
}

pub(crate) fn power_heat_and_clocks() -> State {
    State {
        power_source: power_source(),
        battery_percent: battery_percent(),
        thermal_pressure: thermal_pressure(),
        ..State::default()
    }
}

/// Power is unlimited exactly when it does not come from a battery, also on Macs without
/// one; it is "unknown" while the system estimates how long the battery will last.
fn power_source() -> PowerSource {
    let seconds = IOPSGetTimeRemainingEstimate();
    if seconds == kIOPSTimeRemainingUnlimited {
        PowerSource::Mains
    } else if seconds == kIOPSTimeRemainingUnknown || seconds >= 0.0 {
        PowerSource::Battery
    } else {
        PowerSource::Unknown
    }
}

/// Charge of the built-in battery, of which Macs have at most one.
fn battery_percent() -> Option<u8> {
    let snapshot = IOPSCopyPowerSourcesInfo()?;
    // SAFETY: the snapshot is what `IOPSCopyPowerSourcesInfo` returned.
    let sources = unsafe { IOPSCopyPowerSourcesList(Some(&snapshot)) }?;
    // SAFETY: documented to hold Core Foundation objects.
    let sources = unsafe { sources.cast_unchecked::<CFType>() };
    sources.iter().find_map(|source| {
        // SAFETY: snapshot and source belong together.
        let description = unsafe { IOPSGetPowerSourceDescription(Some(&snapshot), Some(&source)) }?;
        // SAFETY: documented to map strings to Core Foundation objects.
        charge_of(unsafe { description.cast_unchecked::<CFString, CFType>() })
    })
}

fn charge_of(description: &CFDictionary<CFString, CFType>) -> Option<u8> {
    let value = |key: &CStr| -> Option<CFRetained<CFType>> {
        description.get(&CFString::from_str(key.to_str().ok()?))
    };
    let number = |key| value(key)?.downcast::<CFNumber>().ok()?.as_i64();

    let kind = value(kIOPSTypeKey)?.downcast::<CFString>().ok()?;
    if kind.to_string().as_bytes() != kIOPSInternalBatteryType.to_bytes() {
        return None;
    }
    let percent = number(kIOPSCurrentCapacityKey)?
        .checked_mul(100)?
        .checked_div(number(kIOPSMaxCapacityKey)?)?;
    u8::try_from(percent).ok().map(|percent| percent.min(100))
}

/// What `notifyutil -g com.apple.system.thermalpressurelevel` shows; the key and its levels
/// are those of `<libkern/OSThermalNotification.h>`.
fn thermal_pressure() -> Option<ThermalPressure> {
    let name = c"com.apple.system.thermalpressurelevel";
    let mut token: c_int = 0;
    // SAFETY: the name is a C string, and `token` is there to be written.
    if unsafe { notify_register_check(name.as_ptr(), &raw mut token) } != NOTIFY_STATUS_OK {
        return None;
    }
    let mut level: u64 = 0;
    // SAFETY: the token was registered above, and `level` is there to be written.
    let status = unsafe { notify_get_state(token, &raw mut level) };
    // SAFETY: the token was registered above and is not used again.
    unsafe { notify_cancel(token) };
    if status != NOTIFY_STATUS_OK {
        return None;
    }
    match level {
        0 => Some(ThermalPressure::Nominal),
        1 => Some(ThermalPressure::Moderate),
        2 => Some(ThermalPressure::Heavy),
        3 => Some(ThermalPressure::Trapping),
        4 => Some(ThermalPressure::Sleeping),
        _ => None,
    }
}

pub(crate) fn process_memory() -> ProcessMemory {
    let Some((info, known_bytes)) = task_vm_info() else {
        return ProcessMemory::default();
    };
    // Older kernels know fewer fields, and leave the rest alone.
    let known = |offset: usize| offset + size_of::<u64>() <= known_bytes;
    ProcessMemory {
        rss_bytes: Some(info.resident_size),
        peak_rss_bytes: Some(info.resident_size_peak),
        phys_footprint_bytes: known(offset_of!(task_vm_info, phys_footprint))
            .then_some(info.phys_footprint),
        peak_phys_footprint_bytes: known(offset_of!(task_vm_info, ledger_phys_footprint_peak))
            .then(|| u64::try_from(info.ledger_phys_footprint_peak).ok())
            .flatten(),
    }
}

/// The kernel's account of this task, and how many bytes of it this kernel knows.
pub(crate) fn task_vm_info() -> Option<(task_vm_info, usize)> {
    let mut info = task_vm_info::default();
    let words = size_of::<task_vm_info>() / size_of::<natural_t>();
    let mut filled = mach_msg_type_number_t::try_from(words).ok()?;
    // SAFETY: `info` is plain integers and `filled` its size in words, beyond which the
    // kernel does not write. It sets `filled` to the number of words it did write.
    let status = unsafe {
        task_info(
            mach_task_self(),
            TASK_VM_INFO,
            (&raw mut info).cast(),
            &raw mut filled,
        )
    };
    (status == KERN_SUCCESS).then(|| (info, filled as usize * size_of::<natural_t>()))
}

/// What the process `pid` of the same user is charged for.
pub(crate) fn charged_bytes(pid: u32) -> Option<u64> {
    let pid = c_int::try_from(pid).ok()?;
    let mut usage = MaybeUninit::<libc::rusage_info_v0>::zeroed();
    // SAFETY: the kernel fills a structure of the flavour asked for, whatever the declared type
    // of the pointer says.
    let status =
        unsafe { libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V0, usage.as_mut_ptr().cast()) };
    // SAFETY: plain integers, valid as the zeros they began with too.
    let usage = unsafe { usage.assume_init() };
    (status == 0).then_some(usage.ri_phys_footprint)
}

fn sysctl_text(name: &CStr) -> Option<String> {
    let value = sysctl(name)?;
    let text = CStr::from_bytes_until_nul(&value).ok()?.to_str().ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// For names that are known to stand for integers, in four or eight bytes.
fn sysctl_integer(name: &CStr) -> Option<u64> {
    let value = sysctl(name)?;
    match *value.as_slice() {
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d]).into()),
        _ => value.try_into().ok().map(u64::from_ne_bytes),
    }
}

fn sysctl(name: &CStr) -> Option<Vec<u8>> {
    let mut length = 0;
    // SAFETY: without a buffer only `length` is written: the size that a buffer needs.
    let status = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            ptr::null_mut(),
            &raw mut length,
            ptr::null_mut(),
            0,
        )
    };
    if status != 0 {
        return None;
    }
    let mut value = vec![0; length];
    // SAFETY: `value` holds `length` bytes, beyond which nothing is written, and `length`
    // becomes the number of bytes that were.
    let status = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            &raw mut length,
            ptr::null_mut(),
            0,
        )
    };
    if status != 0 {
        return None;
    }
    value.truncate(length);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What `/usr/sbin/sysctl` prints.
    fn sysctl_says(name: &str) -> String {
        let output = Command::new("sysctl").args(["-n", name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn agrees_with_the_sysctl_program() {
        assert_eq!(model(), Some(sysctl_says("hw.model")));
        assert_eq!(os_build(), Some(sysctl_says("kern.osversion")));
        // Eight bytes and four.
        for name in [c"hw.memsize", c"hw.ncpu"] {
            let expected = sysctl_says(name.to_str().unwrap()).parse().ok();
            assert!(expected.is_some());
            assert_eq!(sysctl_integer(name), expected, "{name:?}");
        }
    }

    #[test]
    fn unknown_names_tell_nothing() {
        assert_eq!(sysctl(c"hw.no_such_name"), None);
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn kinds_of_cores_add_up() {
        let total: u32 = core_kinds().into_iter().flatten().sum();
        assert!(total > 0);
        assert!(u64::from(total) <= sysctl_integer(c"hw.physicalcpu").unwrap());
    }
}
