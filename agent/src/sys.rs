//! The system calls that no safe crate covers; the only unsafe code of the agent.
#![expect(unsafe_code, reason = "system calls; each block says why it is sound")]

use std::time::Duration;

/// Sends a signal to every process of a group. A group that is gone is no error.
pub fn signal_group(leader: u32, signal: i32) {
    let Ok(leader) = i32::try_from(leader) else {
        return;
    };
    // Group 0 and -1 would mean our own group and everybody.
    if leader > 1 {
        // SAFETY: kill takes plain numbers.
        unsafe { libc::kill(-leader, signal) };
    }
}

/// CPU time of this process and of those children that it has waited for.
pub fn own_cpu_time() -> Duration {
    cpu_time(libc::RUSAGE_SELF) + cpu_time(libc::RUSAGE_CHILDREN)
}

fn cpu_time(who: libc::c_int) -> Duration {
    // SAFETY: rusage is plain numbers, for which all zeros is a value; getrusage fills it in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let time = |value: libc::timeval| {
        Duration::from_secs(value.tv_sec as u64) + Duration::from_micros(value.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Clock ticks per second of `/proc`.
#[cfg(target_os = "linux")]
pub fn clock_ticks() -> u64 {
    // SAFETY: sysconf takes a plain number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

/// Whether somebody (NTP, PTP) keeps the kernel's clock right; None where it does not tell.
#[cfg(target_os = "linux")]
pub fn clock_is_set_by_others() -> Option<bool> {
    // SAFETY: timex is plain numbers, for which all zeros asks and changes nothing.
    let state = unsafe {
        let mut timex = std::mem::zeroed::<libc::timex>();
        libc::adjtimex(&raw mut timex)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}

#[cfg(target_os = "macos")]
pub use macos::{ThermalPressure, footprint_bytes};

#[cfg(target_os = "macos")]
mod macos {
    use std::ffi::CStr;

    const THERMAL_PRESSURE: &CStr = c"com.apple.system.thermalpressurelevel";

    // <notify.h>, in libSystem.
    unsafe extern "C" {
        fn notify_register_check(name: *const libc::c_char, token: *mut libc::c_int) -> u32;
        fn notify_get_state(token: libc::c_int, state: *mut u64) -> u32;
        fn notify_cancel(token: libc::c_int) -> u32;
    }

    /// What a process takes from the machine's memory, GPU memory included.
    pub fn footprint_bytes(pid: u32) -> Option<u64> {
        let pid = i32::try_from(pid).ok()?;
        // SAFETY: the struct is plain numbers, and the flavour names the struct that is passed.
        unsafe {
            let mut info = std::mem::zeroed::<libc::rusage_info_v4>();
            let buffer = (&raw mut info).cast::<libc::rusage_info_t>();
            (libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V4, buffer) == 0)
                .then_some(info.ri_phys_footprint)
        }
    }

    /// The system's thermal pressure: 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping.
    #[derive(Debug)]
    pub struct ThermalPressure(libc::c_int);

    impl ThermalPressure {
        pub fn open() -> Option<Self> {
            let mut token = 0;
            // SAFETY: the name is a C string, the token is ours.
            let status =
                unsafe { notify_register_check(THERMAL_PRESSURE.as_ptr(), &raw mut token) };
            (status == 0).then_some(Self(token))
        }

        pub fn level(&self) -> Option<u64> {
            let mut level = 0;
            // SAFETY: the token is registered as long as this value lives.
            let status = unsafe { notify_get_state(self.0, &raw mut level) };
            (status == 0).then_some(level)
        }
    }

    impl Drop for ThermalPressure {
        fn drop(&mut self) {
            // SAFETY: the token is registered and not used again.
            unsafe { notify_cancel(self.0) };
        }
    }
}
