//! The three calls that std lacks; the only unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "geteuid, kill, getpwnam_r have no safe form in std"
)]

use std::ffi::CStr;
use std::{io, ptr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Fast shutdown: sessions are cut, the data is check-pointed.
    Interrupt,
    /// Immediate shutdown: the next start recovers from the log.
    Quit,
    /// Of a process without its server: there is nobody to notice anything else.
    Kill,
}

pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() }
}

pub(crate) fn signal(pid: i32, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Quit => libc::SIGQUIT,
        Signal::Kill => libc::SIGKILL,
    };
    send(pid, number)
}

/// Whether some process has this number, dead but not yet reaped ones included.
pub(crate) fn exists(pid: i32) -> bool {
    match send(pid, 0) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    }
}

fn send(pid: i32, number: i32) -> io::Result<()> {
    // A number of 0 or below would address a whole group.
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes two integers and touches no memory of ours.
    match unsafe { libc::kill(pid, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The (uid, gid) of an account, `None` when there is no such account.
pub(crate) fn account_ids(name: &CStr) -> io::Result<Option<(u32, u32)>> {
    let mut buffer: Vec<libc::c_char> = vec![0; 4096];
    loop {
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found: *mut libc::passwd = ptr::null_mut();
        // SAFETY: every pointer is valid for the call; the buffer's true length is given.
        let code = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        match code {
            0 if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: a non-null result means that the entry was filled in.
                let entry = unsafe { entry.assume_init() };
                return Ok(Some((entry.pw_uid, entry.pw_gid)));
            }
            libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}
