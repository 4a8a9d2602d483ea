//! The two calls that std lacks; the only unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "geteuid and gethostname have no safe form in std"
)]

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() == 0 }
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
