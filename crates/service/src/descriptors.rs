//! How many files and connections this process may have open. Systems start processes with as few as
//! 256 of many that they may ask for, and each connection takes one.

use std::io;

use crate::sys;

/// macOS refuses more, whatever it says is allowed.
const MOST: u64 = if cfg!(target_os = "macos") {
    10_240
} else {
    1 << 20
};

/// Asks for as many as this process may have; how many it then has.
pub fn raise() -> io::Result<u64> {
    let (now, most) = sys::descriptor_limits()?;
    let wanted = most.min(MOST);
    if wanted <= now {
        return Ok(now);
    }
    sys::limit_descriptors(wanted, most)?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_may_have_it_gets() {
        let (_, most) = sys::descriptor_limits().unwrap();
        assert_eq!(raise().unwrap(), most.min(MOST));
        assert_eq!(sys::descriptor_limits().unwrap().0, most.min(MOST));
    }
}
