//! The calls that std lacks; the only unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "geteuid, gethostname, getrlimit, sigaction and signal have no safe form in std"
)]

use std::io;

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether this process was started to outlive its terminal, as `nohup` does it.
pub(crate) fn ignores_hangup() -> bool {
    // SAFETY: all zeros is a valid sigaction, and the call writes one to the pointer, or fails.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}

/// From now on these signals end this process, as they do one that never asked for them.
pub(crate) fn default_signals(signals: &[libc::c_int]) {
    for signal in signals {
        // SAFETY: no handler of ours is put in; the one that was there is not called any more.
        unsafe {
            libc::signal(*signal, libc::SIG_DFL);
        }
    }
}

/// How many descriptors this process may have, and how many it may ask for.
pub(crate) fn descriptor_limits() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a value of the type that the call writes.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn limit_descriptors(now: u64, most: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: now,
        rlim_max: most,
    };
    // SAFETY: the call only reads the value behind the pointer.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// This machine's name, `None` where it has none that is text.
pub(crate) fn hostname() -> Option<String> {
    let mut buffer = [0_u8; 256];
    // SAFETY: the pointer is valid for the given length, which leaves room for a final zero.
    let code = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    let length = buffer.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&buffer[..length]).ok()?;
    (code == 0 && !name.is_empty()).then(|| name.to_owned())
}
